/*
 * glob.c - matching names against patterns, without recursion.
 *
 * One pass over pattern and text together. Everything but a star matches exactly one byte of the
 * text or fails. Where a star stands, its place and the text's are remembered; a later failure goes
 * back to the last star only, which then takes one byte more. Going back to an earlier star could
 * win nothing: the part between the two has been found at its first possible place, which leaves
 * the rest of the pattern the most text. So the work is bounded by the product of the lengths,
 * however many stars there are.
 *
 * Oddities kept because they are Redis's: after a backslash in a class the case always counts; the
 * ends of a range may be given in either order; `[]` matches nothing and `[^]` anything.
 */
#include "broker/engine/glob.h"

static uint8_t glob_lower(uint8_t b, bool nocase)
{
    return nocase && b >= 'A' && b <= 'Z' ? (uint8_t)(b + 'a' - 'A') : b;
}

static bool glob_in_range(uint8_t from, uint8_t to, uint8_t b, bool nocase)
{
    uint8_t low = from < to ? from : to;
    uint8_t high = from < to ? to : from;

    b = glob_lower(b, nocase);
    return b >= glob_lower(low, nocase) && b <= glob_lower(high, nocase);
}

/* Matches one byte against the class whose bracket is at pattern[*at]; moves *at behind it. */
static bool glob_class(struct slice pattern, size_t *at, uint8_t b, bool nocase)
{
    const uint8_t *p = pattern.p;
    size_t i = *at + 1;
    bool negated = i < pattern.n && p[i] == '^';
    bool found = false;

    if (negated)
        i++;
    for (; i < pattern.n && p[i] != ']'; i++) {
        if (p[i] == '\\' && pattern.n - i >= 2) {
            i++;
            found |= p[i] == b;
        } else if (pattern.n - i >= 3 && p[i + 1] == '-') {
            found |= glob_in_range(p[i], p[i + 2], b, nocase);
            i += 2;
        } else {
            found |= glob_lower(p[i], nocase) == glob_lower(b, nocase);
        }
    }
    *at = i < pattern.n ? i + 1 : i;
    return found != negated;
}

/* Matches one byte against the pattern's element at *at, which is no star; moves *at behind it. */
static bool glob_one(struct slice pattern, size_t *at, uint8_t b, bool nocase)
{
    uint8_t p = pattern.p[*at];

    if (p == '[')
        return glob_class(pattern, at, b, nocase);
    if (p == '\\' && pattern.n - *at >= 2)
        p = pattern.p[++*at];
    else if (p == '?')
        b = p;
    ++*at;
    return glob_lower(p, nocase) == glob_lower(b, nocase);
}

bool glob_match(struct slice pattern, struct slice text, bool nocase)
{
    size_t i = 0, at = 0;   /* in the text, in the pattern */
    size_t star = SIZE_MAX; /* behind the last star seen */
    size_t star_i = 0;      /* where the text goes on if that star takes one byte more */

    while (i < text.n) {
        if (at < pattern.n && pattern.p[at] == '*') {
            star = ++at;
            star_i = i + 1;
            if (at == pattern.n)
                return true;
        } else if (at < pattern.n && glob_one(pattern, &at, text.p[i], nocase)) {
            i++;
        } else if (star != SIZE_MAX) {
            at = star;
            i = star_i++;
        } else {
            return false;
        }
    }
    while (at < pattern.n && pattern.p[at] == '*')
        at++;
    return at == pattern.n;
}
