/*
 * conf.c - settings by name, and URLs.
 *
 * A setting is a name, a kind and a place in the struct: one table, so that a new one is one line.
 * A URL is taken apart into a copy of the settings, which replaces them only when all of it was
 * good. Texts of errors repeat what was wrong but never a URL, since that may hold a password.
 */
#include "client/conf.h"

#include <stdlib.h>

enum conf_kind { CONF_TEXT, CONF_NUMBER, CONF_HOST, CONF_PATH, CONF_NAME };

struct conf_field {
    const char *name;
    enum conf_kind kind;
    size_t place; /* in struct beck_conf */
    uint64_t min, max;
};

static const struct conf_field conf_fields[] = {
    { "host", CONF_HOST, offsetof(struct beck_conf, host), 0, 0 },
    { "port", CONF_NUMBER, offsetof(struct beck_conf, port), 1, 65535 },
    { "path", CONF_PATH, offsetof(struct beck_conf, path), 0, 0 },
    { "user", CONF_TEXT, offsetof(struct beck_conf, user), 0, 0 },
    { "password", CONF_TEXT, offsetof(struct beck_conf, password), 0, 0 },
    { "name", CONF_NAME, offsetof(struct beck_conf, name), 0, 0 },
    { "db", CONF_NUMBER, offsetof(struct beck_conf, db), 0, INT32_MAX },
    { "proto", CONF_NUMBER, offsetof(struct beck_conf, proto), 2, 3 },
    { "connect-timeout-ms", CONF_NUMBER, offsetof(struct beck_conf, connect_timeout_ms), 0,
      86400000 },
    { "timeout-ms", CONF_NUMBER, offsetof(struct beck_conf, timeout_ms), 0, 86400000 },
    { "max-reply-bytes", CONF_NUMBER, offsetof(struct beck_conf, max_reply_bytes), 1024,
      (uint64_t)1 << 40 },
    { "max-reply-elements", CONF_NUMBER, offsetof(struct beck_conf, max_reply_elements), 16,
      1 << 30 },
};

static char **conf_text(struct beck_conf *conf, const struct conf_field *field)
{
    return (char **)(void *)((char *)conf + field->place);
}

int beck_conf_new(struct beck_conf **out)
{
    struct beck_conf *conf = calloc(1, sizeof *conf);

    if (conf == NULL)
        return BECK_ERR_NOMEM;
    conf->host = strdup("127.0.0.1");
    if (conf->host == NULL) {
        beck_conf_free(conf);
        return BECK_ERR_NOMEM;
    }
    conf->port = 7878;
    conf->proto = 3;
    conf->connect_timeout_ms = 5000;
    conf->timeout_ms = 30000;
    conf->max_reply_bytes = (uint64_t)1 << 30;
    conf->max_reply_elements = 16u << 20;
    *out = conf;
    return BECK_OK;
}

void beck_conf_free(struct beck_conf *conf)
{
    if (conf == NULL)
        return;
    if (conf->password != NULL)
        explicit_bzero(conf->password, strlen(conf->password));
    free(conf->host);
    free(conf->path);
    free(conf->user);
    free(conf->password);
    free(conf->name);
    free(conf);
}

const char *beck_conf_last_error(const struct beck_conf *conf)
{
    return conf->fail.text;
}

static bool conf_copy_text(char **to, const char *from)
{
    *to = from == NULL ? NULL : strdup(from);
    return from == NULL || *to != NULL;
}

int conf_copy(const struct beck_conf *conf, struct beck_conf **out)
{
    struct beck_conf *copy = malloc(sizeof *copy);

    if (copy == NULL)
        return BECK_ERR_NOMEM;
    *copy = *conf;
    copy->host = copy->path = copy->user = copy->password = copy->name = NULL;
    if (!conf_copy_text(&copy->host, conf->host) || !conf_copy_text(&copy->path, conf->path) ||
        !conf_copy_text(&copy->user, conf->user) || !conf_copy_text(&copy->name, conf->name) ||
        !conf_copy_text(&copy->password, conf->password)) {
        beck_conf_free(copy);
        return BECK_ERR_NOMEM;
    }
    *out = copy;
    return BECK_OK;
}

static int conf_number(const struct conf_field *field, const char *text, uint64_t *out,
                       struct fail *f)
{
    uint64_t v = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && v <= field->max; at++)
        v = v * 10 + (uint64_t)(*at - '0');
    if (at == text || *at != '\0' || v < field->min || v > field->max)
        return fail_set(f, BECK_ERR_USAGE, "%s: \"%.40s\" is not a number from %llu to %llu",
                        field->name, text, (unsigned long long)field->min,
                        (unsigned long long)field->max);
    *out = v;
    return BECK_OK;
}

static int conf_replace(char **place, const char *value, struct fail *f)
{
    char *copy = strdup(value);

    if (copy == NULL)
        return fail_set(f, BECK_ERR_NOMEM, "out of memory");
    free(*place);
    *place = copy;
    return BECK_OK;
}

static void conf_drop(char **place)
{
    free(*place);
    *place = NULL;
}

static int conf_set_text(struct beck_conf *conf, const struct conf_field *field, const char *value)
{
    int rc;

    if (*value == '\0' && (field->kind == CONF_HOST || field->kind == CONF_PATH))
        return fail_set(&conf->fail, BECK_ERR_USAGE, "%s: is empty", field->name);
    if (field->kind == CONF_NAME && strpbrk(value, " \t\r\n") != NULL)
        return fail_set(&conf->fail, BECK_ERR_USAGE, "%s: holds a blank", field->name);
    rc = conf_replace(conf_text(conf, field), value, &conf->fail);
    if (rc == BECK_OK && field->kind == CONF_HOST)
        conf_drop(&conf->path);
    if (rc == BECK_OK && field->kind == CONF_PATH)
        conf_drop(&conf->host);
    return rc;
}

int beck_conf_set(struct beck_conf *conf, const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof conf_fields / sizeof conf_fields[0]; i++) {
        const struct conf_field *field = &conf_fields[i];
        uint64_t number = 0;
        int rc;

        if (strcmp(name, field->name) != 0)
            continue;
        if (field->kind != CONF_NUMBER)
            return conf_set_text(conf, field, value);
        rc = conf_number(field, value, &number, &conf->fail);
        if (rc == BECK_OK)
            *(uint64_t *)(void *)((char *)conf + field->place) = number;
        return rc;
    }
    return fail_set(&conf->fail, BECK_ERR_USAGE, "there is no setting \"%.40s\"", name);
}

static int conf_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

/* Sets `name` to the n bytes at p with %XX decoded. */
static int conf_set_part(struct beck_conf *conf, const char *name, const char *p, size_t n)
{
    char *text = malloc(n + 1);
    size_t len = 0;
    int rc = BECK_OK;

    if (text == NULL)
        return fail_set(&conf->fail, BECK_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n && rc == BECK_OK; i++) {
        text[len] = p[i];
        if (p[i] == '%') {
            int high = n - i > 2 ? conf_hex(p[i + 1]) : -1;
            int low = n - i > 2 ? conf_hex(p[i + 2]) : -1;
            text[len] = (char)(high * 16 + low);
            if (high < 0 || low < 0 || text[len] == '\0')
                rc = fail_set(&conf->fail, BECK_ERR_USAGE, "the URL's %s has a bad %%XX", name);
            i += 2;
        }
        len++;
    }
    text[len] = '\0';
    if (rc == BECK_OK)
        rc = beck_conf_set(conf, name, text);
    explicit_bzero(text, n + 1);
    free(text);
    return rc;
}

/* [user[:password]@] at the front of [p, end); *rest is what follows. */
static int conf_set_login(struct beck_conf *conf, const char *p, const char *end, const char **rest)
{
    const char *at = memrchr(p, '@', (size_t)(end - p));
    const char *colon;
    int rc = BECK_OK;

    *rest = p;
    if (at == NULL)
        return BECK_OK;
    *rest = at + 1;
    colon = memchr(p, ':', (size_t)(at - p));
    if (colon != NULL)
        rc = conf_set_part(conf, "password", colon + 1, (size_t)(at - colon - 1));
    if (rc == BECK_OK && (colon == NULL ? at : colon) > p)
        rc = conf_set_part(conf, "user", p, (size_t)((colon == NULL ? at : colon) - p));
    return rc;
}

/* host, host:port, [v6], [v6]:port in [p, end). */
static int conf_set_host(struct beck_conf *conf, const char *p, const char *end)
{
    const char *close = *p == '[' ? memchr(p, ']', (size_t)(end - p)) : NULL;
    const char *host_end = close != NULL ? close + 1 : memchr(p, ':', (size_t)(end - p));
    int rc = BECK_OK;

    if (p == end)
        return BECK_OK;
    if (*p == '[' && close == NULL)
        return fail_set(&conf->fail, BECK_ERR_USAGE, "the URL's [address] has no end");
    if (host_end == NULL)
        host_end = end;
    if (host_end < end && *host_end != ':')
        return fail_set(&conf->fail, BECK_ERR_USAGE,
                        "the URL has no colon between address and port");
    if (close != NULL)
        rc = conf_set_part(conf, "host", p + 1, (size_t)(close - p - 1));
    else if (host_end > p)
        rc = conf_set_part(conf, "host", p, (size_t)(host_end - p));
    if (rc == BECK_OK && host_end < end)
        rc = conf_set_part(conf, "port", host_end + 1, (size_t)(end - host_end - 1));
    return rc;
}

static int conf_parse_tcp(struct beck_conf *conf, const char *p)
{
    const char *end = p + strcspn(p, "/?#");
    const char *host;
    int rc = conf_set_login(conf, p, end, &host);

    if (rc == BECK_OK)
        rc = conf_set_host(conf, host, end);
    if (rc == BECK_OK && end[0] == '/' && end[1] != '\0')
        rc = conf_set_part(conf, "db", end + 1, strlen(end + 1));
    else if (rc == BECK_OK && *end != '\0' && *end != '/')
        rc = fail_set(&conf->fail, BECK_ERR_USAGE,
                      "the URL has something behind the host that is no /db");
    return rc;
}

static int conf_parse_unix(struct beck_conf *conf, const char *p)
{
    const char *end = p + strcspn(p, "?");
    int rc = conf_set_part(conf, "path", p, (size_t)(end - p));

    if (rc != BECK_OK || *end == '\0')
        return rc;
    if (strncmp(end, "?db=", 4) != 0)
        return fail_set(&conf->fail, BECK_ERR_USAGE,
                        "the URL has something behind the path that is no ?db=n");
    return conf_set_part(conf, "db", end + 4, strlen(end + 4));
}

static int conf_parse_url(struct beck_conf *conf, const char *url)
{
    if (strncmp(url, "beck://", 7) == 0)
        return conf_parse_tcp(conf, url + 7);
    if (strncmp(url, "redis://", 8) == 0)
        return conf_parse_tcp(conf, url + 8);
    if (strncmp(url, "unix://", 7) == 0)
        return conf_parse_unix(conf, url + 7);
    return fail_set(&conf->fail, BECK_ERR_USAGE,
                    "the URL does not begin with beck://, redis:// or unix://");
}

int beck_conf_set_url(struct beck_conf *conf, const char *url)
{
    struct beck_conf *copy;
    struct beck_conf swap;
    int rc = conf_copy(conf, &copy);

    if (rc != BECK_OK)
        return fail_set(&conf->fail, rc, "out of memory");
    rc = conf_parse_url(copy, url);
    if (rc == BECK_OK) {
        swap = *conf;
        *conf = *copy;
        *copy = swap;
    } else {
        conf->fail = copy->fail;
    }
    beck_conf_free(copy);
    return rc;
}
