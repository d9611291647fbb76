// Counts claims, as tests/lib/beck.py does for the Python tests.
'use strict';
const assert = require('node:assert');
let passed = 0;
let failed = 0;

exports.equal = function equal(claim, got, want) {
  try {
    assert.deepStrictEqual(got, want);
    passed++;
  } catch (e) {
    failed++;
    console.log(`FAILED: ${claim}\n${e.message}`);
  }
};

exports.ok = function ok(claim, holds, detail) {
  exports.equal(claim + (holds || detail === undefined ? '' : `: ${detail}`), Boolean(holds), true);
};

// The promise must be rejected with a message that matches.
exports.fails = async function fails(claim, promise, pattern) {
  try {
    const value = await promise;
    exports.equal(claim, value, 'an error');
  } catch (e) {
    exports.ok(claim, pattern.test(e.message), e.message);
  }
};

exports.finish = function finish() {
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
};
