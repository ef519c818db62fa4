/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The parser of replies alone, as a fuzzer would include it: every answer in a buffer of exactly its size, so that the
 * address sanitizer sees a read of one byte too many. */

#include "../pam_idled.c"

static int cases, failed;

static void report(bool ok, const char *name)
{
    failed += !ok;
    printf("%s %d - %s\n", ok ? "ok" : "not ok", ++cases, name);
}

/* Parses a copy, and holds what came out against what is promised. */
static const char *parse(const char *data, size_t len, struct reply *reply)
{
    char *exact = malloc(len > 0 ? len : 1);
    if (exact == NULL)
        abort();
    memcpy(exact, data, len);
    memset(reply, 0x5a, sizeof(*reply));
    const char *wrong = parse_reply(exact, len, reply);
    free(exact);

    if (wrong == NULL) {
        const char *end = memchr(reply->text, '\0', sizeof(reply->text));
        if (end == NULL || reply->runtime_max_sec > UINT64_C(9999999999))
            abort();
        for (const char *at = reply->text; at < end;) {
            size_t n = printable(at, (size_t)(end - at));
            if (n == 0)
                abort();
            at += n;
        }
    } else if (reply->runtime_max_sec != UINT64_C(0x5a5a5a5a5a5a5a5a))
        abort(); /* nothing of a bad reply is used */
    return wrong;
}

#define OK(name, literal, want_text, want_seconds)                                                                     \
    do {                                                                                                               \
        struct reply reply;                                                                                            \
        report(parse(literal, sizeof(literal), &reply) == NULL && strcmp(reply.text, want_text) == 0 &&                \
                   reply.runtime_max_sec == (want_seconds),                                                            \
               name);                                                                                                  \
    } while (0)

#define BAD(name, literal, len)                                                                                        \
    do {                                                                                                               \
        struct reply reply;                                                                                            \
        report(parse(literal, len, &reply) != NULL, name);                                                             \
    } while (0)

#define BAD_STRING(name, literal) BAD(name, literal, sizeof(literal))

static void test_text(void)
{
    OK("ascii", "VERSION=1\0TEXT=idle limit 15 min", "idle limit 15 min", 0);
    OK("utf-8", "VERSION=1\0TEXT=Gr\xc3\xbc\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x98\x80", "Gr\xc3\xbc\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x98\x80", 0);
    OK("an equals sign in the text", "VERSION=1\0TEXT=a=b=", "a=b=", 0);
    OK("escapes, newlines, tabs and DEL", "VERSION=1\0TEXT=a\033[31m\nb\tc\r\177", "a[31mbc", 0);
    OK("C1 controls", "VERSION=1\0TEXT=a\xc2\x9b\x31mb\xc2\x80\xc2\x9f\xc2\xa0", "a1mb\xc2\xa0", 0);
    OK("bytes that are no utf-8", "VERSION=1\0TEXT=a\xff\x80\xc3" "b\xe2\x82", "ab", 0);
    OK("overlong, surrogate, beyond unicode", "VERSION=1\0TEXT=a\xc0\xaf\xe0\x80\xaf\xed\xa0\x80\xf4\x90\x80\x80\xf5\x80\x80\x80" "b", "ab", 0);
    OK("the ends of the ranges", "VERSION=1\0TEXT=\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 0);
    OK("empty text", "VERSION=1\0TEXT=", "", 0);
}

static void test_structure(void)
{
    OK("version alone", "VERSION=1", "", 0);
    OK("both, in either order", "VERSION=1\0RUNTIME_MAX_SEC=43230\0TEXT=x", "x", 43230);
    OK("unknown keys", "VERSION=1\0NEW=\0TEXT=x\0TEXTS=y\0OTHER=z", "x", 0);
    OK("largest number", "VERSION=1\0RUNTIME_MAX_SEC=9999999999", "", UINT64_C(9999999999));
    OK("leading zeros", "VERSION=1\0RUNTIME_MAX_SEC=0000000030", "", 30);
    BAD("empty", "", 0);
    BAD("unterminated version", "VERSION=1", 9);
    BAD("unterminated text", "VERSION=1\0TEXT=x", sizeof("VERSION=1\0TEXT=x") - 1);
    BAD_STRING("a NUL", "");
    BAD_STRING("other version", "VERSION=2");
    BAD_STRING("longer version", "VERSION=10");
    BAD_STRING("version not first", "TEXT=x\0VERSION=1");
    BAD_STRING("two versions", "VERSION=1\0VERSION=1");
    BAD_STRING("line without =", "VERSION=1\0TEXT");
    BAD_STRING("line without key", "VERSION=1\0=x");
    BAD_STRING("empty line", "VERSION=1\0\0TEXT=x");
    BAD_STRING("two texts", "VERSION=1\0TEXT=\0TEXT=x");
    BAD_STRING("two limits", "VERSION=1\0RUNTIME_MAX_SEC=5\0RUNTIME_MAX_SEC=5");
    static const char *const numbers[] = {"", "0", "00", "-5", "+5", " 5", "5 ", "5s", "abc", "0x5", "99999999999", "5.0", "infinity"};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char data[64], name[64];
        struct reply reply;
        int head = snprintf(data, sizeof(data), "VERSION=1%cRUNTIME_MAX_SEC=%s", '\0', numbers[i]);
        snprintf(name, sizeof(name), "limit of '%s'", numbers[i]);
        report(parse(data, (size_t)head + 1, &reply) != NULL, name);
    }
}

static void test_sizes(void)
{
    static const char head[] = "VERSION=1\0TEXT=";
    char data[REPLY_MAX + 1];
    struct reply reply;

    memset(data, 'x', sizeof(data));
    memcpy(data, head, sizeof(head) - 1);
    data[sizeof(head) - 1 + TEXT_MAX] = '\0';
    report(parse(data, sizeof(head) + TEXT_MAX, &reply) == NULL && strlen(reply.text) == TEXT_MAX, "longest text");
    data[sizeof(head) - 1 + TEXT_MAX] = 'x';
    data[sizeof(head) + TEXT_MAX] = '\0';
    report(parse(data, sizeof(head) + TEXT_MAX + 1, &reply) != NULL, "text too long");

    memset(data, 'x', sizeof(data));
    memcpy(data, "VERSION=1\0NEW=", sizeof("VERSION=1\0NEW=") - 1);
    data[REPLY_MAX - 1] = '\0';
    report(parse(data, REPLY_MAX, &reply) == NULL, "longest answer");
    data[REPLY_MAX - 1] = 'x';
    data[REPLY_MAX] = '\0';
    report(parse(data, REPLY_MAX + 1, &reply) != NULL, "answer too long");
}

/* What a fuzzer does, in small and the same each time: parse() aborts when a promise is broken. */
static void test_noise(void)
{
    static const char seed[] = "VERSION=1\0TEXT=idle \xe2\x82\xac 15\xc2\x9b min\0RUNTIME_MAX_SEC=43230\0NEW=x";
    uint32_t random = 1;
    struct reply reply;

    for (size_t len = 0; len <= sizeof(seed); len++)
        parse(seed, len, &reply);
    report(true, "every beginning of an answer");
    for (int round = 0; round < 200000; round++) {
        char data[sizeof(seed)];
        memcpy(data, seed, sizeof(seed));
        for (int i = 0; i < 1 + round % 4; i++) {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            data[random % sizeof(seed)] = (char)(random >> 24);
        }
        parse(data, 1 + (random >> 8) % sizeof(seed), &reply);
    }
    report(true, "200000 damaged answers");
}

int main(void)
{
    test_text();
    test_structure();
    test_sizes();
    test_noise();
    printf("1..%d\n", cases);
    return failed > 0;
}
