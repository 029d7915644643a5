/* Does what programs do with libnats, and prints what comes of it: c_client HOST PORT STEP...
 *
 * The steps have the same names and mean the same in all clients of this folder. Each line of output begins with the name of
 * its step, and has no port, time or random word in it. Certificates are judged by the file NATS_CA. */

#include <nats/nats.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So many bytes of payload the servers take. */
#define LIMIT (1024 * 1024)
#define WAIT_MS 20000
/* How long an answer is waited for that must not come. */
#define SILENCE_MS 500
#define MESSAGES 1000

static const char *host, *port, *step;

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("%s: ", step);
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
}

static void must(natsStatus status) {
    if (status == NATS_OK)
        return;
    say("FAILED %s", natsStatus_GetText(status));
    nats_PrintLastErrorStack(stderr);
    exit(1);
}

static void fails(const char *what, natsStatus status) {
    const char *detail = status == NATS_OK ? "" : nats_GetLastError(NULL);
    /* OpenSSL's text has an address in it. */
    const char *is_ssl = detail ? strstr(detail, "SSL error") : NULL;
    say("%s: %s: %s", what, status == NATS_OK ? "no error" : natsStatus_GetText(status),
        is_ssl || !detail ? "SSL" : detail);
}

/* What the client says by itself, in order. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t grown;
    char *all[MESSAGES];
    int count, read;
} words = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {0}, 0, 0};

static void word(const char *kind, const char *text) {
    char *both = malloc(strlen(kind) + strlen(text) + 2);
    sprintf(both, *text ? "%s %s" : "%s%s", kind, text);
    pthread_mutex_lock(&words.lock);
    if (words.count < MESSAGES)
        words.all[words.count++] = both;
    pthread_cond_signal(&words.grown);
    pthread_mutex_unlock(&words.lock);
}

static const char *next_word(void) {
    const char *next = "nothing in time";
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&words.lock);
    while (words.read == words.count && pthread_cond_timedwait(&words.grown, &words.lock, &end) == 0)
        ;
    if (words.read < words.count)
        next = words.all[words.read++];
    pthread_mutex_unlock(&words.lock);
    return next;
}

/* The closure is the kind of event, or NULL for a connection whose events nobody wants to know. */
static void on_event(natsConnection *connection, void *kind) {
    (void)connection;
    word(kind, "");
}

static void on_error(natsConnection *connection, natsSubscription *sub, natsStatus status, void *closure) {
    (void)sub, (void)closure;
    const char *text = "";
    natsConnection_GetLastError(connection, &text);
    word("error", text && *text ? text : natsStatus_GetText(status));
}

/* An event of a connection whose events nobody wants to know. Without a function, the library prints errors. */
static void on_error_elsewhere(natsConnection *connection, natsSubscription *sub, natsStatus status, void *closure) {
    (void)connection, (void)sub, (void)status, (void)closure;
}

static natsOptions *options(void) {
    natsOptions *all;
    char url[100];
    snprintf(url, sizeof url, "nats://%s:%s", host, port);
    must(natsOptions_Create(&all));
    must(natsOptions_SetURL(all, url));
    must(natsOptions_SetTimeout(all, WAIT_MS));
    must(natsOptions_SetAllowReconnect(all, false));
    must(natsOptions_SetErrorHandler(all, on_error_elsewhere, NULL));
    return all;
}

static natsOptions *loud_options(void) {
    natsOptions *all = options();
    must(natsOptions_SetErrorHandler(all, on_error, NULL));
    must(natsOptions_SetDisconnectedCB(all, on_event, "disconnected"));
    must(natsOptions_SetReconnectedCB(all, on_event, "reconnected"));
    must(natsOptions_SetClosedCB(all, on_event, "closed"));
    return all;
}

static natsOptions *login(natsOptions *all, const char *user, const char *password) {
    must(natsOptions_SetUserInfo(all, user, password));
    return all;
}

static natsConnection *connect_with(natsOptions *all) {
    natsConnection *connection = NULL;
    must(natsConnection_Connect(&connection, all));
    return connection;
}

static natsConnection *connect(void) { return connect_with(options()); }

static void refused(const char *what, natsOptions *all) {
    natsConnection *connection = NULL;
    fails(what, natsConnection_Connect(&connection, all));
}

/* Waits until all is done that the server has got of the client, and all is here that it has sent before. */
static void barrier(natsConnection *connection) { must(natsConnection_FlushTimeout(connection, WAIT_MS)); }

static natsSubscription *subscribe(natsConnection *connection, const char *subject, const char *group) {
    natsSubscription *sub = NULL;
    if (group)
        must(natsConnection_QueueSubscribeSync(&sub, connection, subject, group));
    else
        must(natsConnection_SubscribeSync(&sub, connection, subject));
    return sub;
}

static void publish(natsConnection *connection, const char *subject, const char *payload) {
    must(natsConnection_PublishString(connection, subject, payload));
}

static natsMsg *next(natsSubscription *sub) {
    natsMsg *message = NULL;
    must(natsSubscription_NextMsg(&message, sub, WAIT_MS));
    return message;
}

static int waiting(natsSubscription *sub) {
    uint64_t count = 0;
    return natsSubscription_QueuedMsgs(sub, &count) == NATS_OK ? (int)count : 0;
}

/* The payloads of the messages that are here. */
static const char *payloads(natsSubscription *sub) {
    char *all = calloc(1, 100000);
    while (waiting(sub)) {
        strcat(all, *all ? ", " : "");
        strcat(all, natsMsg_GetData(next(sub)));
    }
    return all;
}

static void delivers(natsConnection *connection) {
    natsSubscription *sub = subscribe(connection, "it.works", NULL);
    publish(connection, "it.works", "indeed");
    natsMsg *message = next(sub);
    say("%s %s", natsMsg_GetSubject(message), natsMsg_GetData(message));
}

static natsMsg *with_header(const char *subject, const char *reply, const char *payload, int length) {
    natsMsg *message;
    must(natsMsg_Create(&message, subject, reply, payload, length));
    must(natsMsgHeader_Set(message, "A", "1"));
    return message;
}

static char *filled(int length) {
    char *bytes = malloc(length);
    memset(bytes, 'x', length);
    return bytes;
}

static void step_connect(void) {
    natsConnection *connection = connect_with(loud_options());
    say("max_payload %lld", (long long)natsConnection_GetMaxPayload(connection));
    delivers(connection);
    uint64_t number = 0;
    char *address = "";
    must(natsConnection_GetClientID(connection, &number));
    must(natsConnection_GetClientIP(connection, &address));
    say("number %d, address %s", number > 0, address);
    natsConnection_Close(connection);
    const char *event;
    do {
        event = next_word();
        say("%s", event);
    } while (strcmp(event, "closed"));
}

static void step_login(void) {
    natsConnection *connection = connect_with(login(options(), "rw", "rwpw"));
    delivers(connection);
    natsConnection_Close(connection);
}

static void step_wrong_login(void) {
    refused("wrong password", login(options(), "rw", "wrong"));
    refused("no such user", login(options(), "nobody", "rwpw"));
    refused("no password", login(options(), "rw", ""));
    natsOptions *token = options();
    must(natsOptions_SetToken(token, "word"));
    refused("token", token);
}

static void step_login_required(void) {
    refused("no login", options());
    step_login();
}

static void step_wildcards(void) {
    static const char *const patterns[] = {"w.*", "w.>", "w.*.c", "*.b", "w.b", ">"};
    static const char *const subjects[] = {"w", "w.a", "w.b", "w.b.c", "w.x.y.c", "other.b", "w.é", "W.b", "w.b"};
    natsConnection *connection = connect();
    natsSubscription *subs[6];
    for (int index = 0; index < 6; index++)
        subs[index] = subscribe(connection, patterns[index], NULL);
    for (int index = 0; index < 9; index++)
        publish(connection, subjects[index], subjects[index]);
    barrier(connection);
    for (int index = 0; index < 6; index++)
        say("%s gets %s", patterns[index], payloads(subs[index]));
    natsConnection_Close(connection);
}

/* Counts the numbers that came, and reports if they came in order. */
static bool count_numbers(natsSubscription *sub, int *counts, int *total) {
    bool in_order = true;
    int last = -1;
    for (*total = 0; waiting(sub); ++*total) {
        int number = atoi(natsMsg_GetData(next(sub)));
        in_order = in_order && number > last;
        counts[last = number]++;
    }
    return in_order;
}

static bool is_once_each(const int *counts) {
    for (int number = 0; number < 300; number++)
        if (counts[number] != 1)
            return false;
    return true;
}

static void step_groups(void) {
    natsConnection *one = connect(), *other = connect();
    natsSubscription *members[] = {subscribe(one, "g.*", "q"), subscribe(one, "g.>", "q"), subscribe(other, "g.a", "q")};
    natsSubscription *alone[] = {subscribe(other, "g.a", "r"), subscribe(other, "g.a", NULL)};
    barrier(one);
    barrier(other);
    for (int number = 0; number < 300; number++) {
        char text[20];
        sprintf(text, "%d", number);
        publish(one, "g.a", text);
    }
    barrier(one);
    barrier(other);
    int counts[300] = {0}, total;
    bool in_order = true, is_large = true;
    for (int index = 0; index < 3; index++) {
        in_order = count_numbers(members[index], counts, &total) && in_order;
        is_large = is_large && total > 30;
    }
    say("together each once %d", is_once_each(counts));
    say("each in order %d", in_order);
    say("each has a share %d", is_large);
    for (int index = 0; index < 2; index++) {
        int counts[300] = {0};
        in_order = count_numbers(alone[index], counts, &total);
        say("alone all %d", in_order && is_once_each(counts));
    }
    natsConnection_Close(one);
    natsConnection_Close(other);
}

static void step_publish(void) {
    char bytes[256];
    for (int byte = 0; byte < 256; byte++)
        bytes[byte] = (char)byte;
    const char *commands = "\r\nPUB p.x 0\r\n\r\n";
    struct {
        const char *bytes;
        int length;
    } all[] = {{"", 0}, {"21.5", 4}, {bytes, 256}, {commands, (int)strlen(commands)}, {filled(100000), 100000}};
    natsConnection *connection = connect();
    natsSubscription *sub = subscribe(connection, "p.>", NULL);
    for (int index = 0; index < 5; index++) {
        char subject[20];
        sprintf(subject, "p.%d", index);
        must(natsConnection_Publish(connection, subject, all[index].bytes, all[index].length));
    }
    must(natsConnection_PublishRequestString(connection, "p.reply", "some.where", "with reply"));
    for (int index = 0; index < 5; index++) {
        natsMsg *message = next(sub);
        int length = natsMsg_GetDataLength(message);
        bool is_same = length == all[index].length && !memcmp(natsMsg_GetData(message), all[index].bytes, length);
        say("%s %d as sent %d", natsMsg_GetSubject(message), length, is_same);
    }
    natsMsg *message = next(sub);
    say("%s %s %s", natsMsg_GetSubject(message), natsMsg_GetData(message), natsMsg_GetReply(message));
    natsConnection_Close(connection);
}

static int compare(const void *one, const void *other) { return strcmp(*(char **)one, *(char **)other); }

/* Headers with all their values, sorted by key. */
static const char *headers(natsMsg *message) {
    const char **keys, **values;
    int count, values_count;
    if (natsMsgHeader_Keys(message, &keys, &count) != NATS_OK)
        return "none";
    char *all = calloc(1, 1000);
    qsort(keys, count, sizeof *keys, compare);
    for (int index = 0; index < count; index++) {
        must(natsMsgHeader_Values(message, keys[index], &values, &values_count));
        for (int value = 0; value < values_count; value++)
            sprintf(all + strlen(all), "(%s: %s)", keys[index], values[value]);
    }
    return all;
}

static void step_headers(void) {
    natsConnection *connection = connect();
    natsSubscription *sub = subscribe(connection, "h", NULL);
    natsMsg *second = with_header("h", NULL, "", 0);
    must(natsMsgHeader_Add(second, "Long-Name", "with blanks: é"));
    must(natsMsgHeader_Add(second, "A", "2"));
    must(natsConnection_PublishMsg(connection, with_header("h", NULL, "one", 3)));
    must(natsConnection_PublishMsg(connection, second));
    must(natsConnection_PublishMsg(connection, with_header("h", "back", "three", 5)));
    publish(connection, "h", "none");
    for (int count = 0; count < 4; count++) {
        natsMsg *message = next(sub);
        const char *reply = natsMsg_GetReply(message);
        say("%s %s %s", natsMsg_GetData(message), headers(message), reply ? reply : "no reply");
    }
    natsConnection_Close(connection);
}

static void answer(natsConnection *connection, natsSubscription *sub, natsMsg *asked, void *closure) {
    (void)sub, (void)closure;
    char text[100];
    const char *value;
    snprintf(text, sizeof text, "re: %.*s", natsMsg_GetDataLength(asked), natsMsg_GetData(asked));
    natsMsg *message;
    must(natsMsg_Create(&message, natsMsg_GetReply(asked), NULL, text, (int)strlen(text)));
    if (natsMsgHeader_Get(asked, "A", &value) == NATS_OK)
        must(natsMsgHeader_Set(message, "Got", value));
    must(natsConnection_PublishMsg(connection, message));
}

static natsConnection *connect_old_style(void) {
    natsOptions *all = options();
    must(natsOptions_UseOldRequestStyle(all, true));
    return connect_with(all);
}

static void step_request(void) {
    natsConnection *connection = connect(), *old = connect_old_style(), *other = connect();
    natsSubscription *sub;
    natsMsg *message;
    must(natsConnection_QueueSubscribe(&sub, other, "service", "servers", answer, NULL));
    barrier(other);
    for (int number = 0; number < 3; number++) {
        char text[20];
        sprintf(text, "%d", number);
        must(natsConnection_RequestString(&message, connection, "service", text, WAIT_MS));
        say("%s %s", natsMsg_GetData(message), headers(message));
    }
    natsMsg *asked = with_header("service", NULL, "with headers", 12);
    must(natsConnection_RequestMsg(&message, connection, asked, WAIT_MS));
    say("%s %s", natsMsg_GetData(message), headers(message));
    must(natsConnection_RequestString(&message, old, "service", "old style", WAIT_MS));
    say("old style: %s", natsMsg_GetData(message));
    natsConnection_Close(connection);
    natsConnection_Close(old);
    natsConnection_Close(other);
}

static void step_nobody(void) {
    natsConnection *connection = connect(), *old = connect_old_style();
    natsMsg *message;
    fails("request", natsConnection_RequestString(&message, connection, "nobody.here", "?", WAIT_MS));
    fails("old style", natsConnection_RequestString(&message, old, "nobody.here", "?", WAIT_MS));
    jsCtx *jet_stream;
    jsAccountInfo *account;
    must(natsConnection_JetStream(&jet_stream, connection, NULL));
    fails("JetStream", js_GetAccountInfo(&account, jet_stream, NULL, NULL));
    natsSubscription *silent = subscribe(connection, "silent", NULL);
    fails("silence", natsConnection_RequestString(&message, connection, "silent", "?", SILENCE_MS));
    say("the silent one got %d", waiting(silent));
    natsConnection_Close(connection);
    natsConnection_Close(old);
}

/* Takes messages until the library says that no more will come. */
static void say_all(const char *name, natsSubscription *sub) {
    natsMsg *message;
    natsStatus status;
    int count = 0;
    while ((status = natsSubscription_NextMsg(&message, sub, SILENCE_MS)) == NATS_OK)
        count++;
    say("%s %d messages, %s", name, count, natsStatus_GetText(status));
}

static void step_auto_unsubscribe(void) {
    natsConnection *connection = connect();
    natsSubscription *soon = subscribe(connection, "u.soon", NULL);
    natsSubscription *late = subscribe(connection, "u.late", NULL);
    natsSubscription *now = subscribe(connection, "u.now", NULL);
    must(natsSubscription_AutoUnsubscribe(soon, 3));
    for (int count = 0; count < 2; count++) {
        publish(connection, "u.late", "");
        publish(connection, "u.now", "");
    }
    barrier(connection);
    must(natsSubscription_AutoUnsubscribe(late, 4));
    /* It has got so many already. */
    must(natsSubscription_AutoUnsubscribe(now, 2));
    for (int count = 0; count < 5; count++) {
        publish(connection, "u.soon", "");
        publish(connection, "u.late", "");
        publish(connection, "u.now", "");
    }
    barrier(connection);
    say_all("soon", soon);
    say_all("late", late);
    say_all("now", now);
    natsSubscription *again = subscribe(connection, "u.soon", NULL);
    publish(connection, "u.soon", "again");
    say("%s", natsMsg_GetData(next(again)));
    must(natsSubscription_Unsubscribe(again));
    publish(connection, "u.soon", "");
    barrier(connection);
    say_all("after unsubscribing", again);
    natsConnection_Close(connection);
}

static void step_no_echo(void) {
    natsOptions *no_echo = options();
    must(natsOptions_SetNoEcho(no_echo, true));
    natsConnection *connection = connect_with(no_echo), *other = connect();
    natsSubscription *own[] = {subscribe(connection, "e", NULL), subscribe(connection, "e", "q")};
    natsSubscription *others[] = {subscribe(other, "e", NULL), subscribe(other, "e", "r")};
    barrier(connection);
    barrier(other);
    publish(connection, "e", "mine");
    barrier(connection);
    barrier(other);
    publish(other, "e", "theirs");
    barrier(other);
    barrier(connection);
    for (int index = 0; index < 2; index++)
        say("own %s", payloads(own[index]));
    for (int index = 0; index < 2; index++)
        say("others %s", payloads(others[index]));
    subscribe(connection, "self", NULL);
    natsMsg *message;
    fails("request to itself", natsConnection_RequestString(&message, connection, "self", "", WAIT_MS));
    natsConnection_Close(connection);
    natsConnection_Close(other);
}

static void step_flush(void) {
    natsConnection *connection = connect();
    for (int count = 0; count < 3; count++) {
        barrier(connection);
        say("flushed");
    }
    int64_t rtt = 0;
    must(natsConnection_GetRTT(connection, &rtt));
    say("rtt %d", rtt > 0);
    natsConnection_Close(connection);
}

static atomic_int handled;

static void slowly(natsConnection *connection, natsSubscription *sub, natsMsg *message, void *closure) {
    (void)connection, (void)sub, (void)closure;
    nats_Sleep(1);
    natsMsg_Destroy(message);
    handled++;
}

/* The last message may still be in work when the library counts it. */
static int handled_after(int count) {
    for (int waited = 0; handled < count && waited < WAIT_MS; waited++)
        nats_Sleep(1);
    return handled;
}

static void step_drain(void) {
    natsConnection *connection = connect_with(loud_options()), *other = connect();
    natsSubscription *one, *all, *last = subscribe(other, "d.last", NULL);
    must(natsConnection_Subscribe(&one, connection, "d.one", slowly, NULL));
    must(natsConnection_QueueSubscribe(&all, connection, "d.all", "q", slowly, NULL));
    barrier(connection);
    barrier(other);
    for (int count = 0; count < 50; count++)
        publish(other, "d.one", "");
    barrier(other);
    must(natsSubscription_Drain(one));
    must(natsSubscription_WaitForDrainCompletion(one, WAIT_MS));
    say("subscription drained after %d", handled_after(50));
    for (int count = 0; count < 50; count++) {
        publish(other, "d.one", "");
        publish(other, "d.all", "");
    }
    barrier(other);
    publish(connection, "d.last", "last words");
    must(natsConnection_Drain(connection));
    say("%s", natsMsg_GetData(next(last)));
    const char *event;
    do {
        event = next_word();
        say("%s", event);
    } while (strcmp(event, "closed"));
    say("connection drained after %d, closed %d", handled_after(100), natsConnection_IsClosed(connection));
    natsConnection_Close(other);
}

static void step_close(void) {
    natsConnection *connection = connect();
    natsSubscription *sub = subscribe(connection, "c", NULL), *late;
    natsMsg *message;
    barrier(connection);
    natsConnection_Close(connection);
    say("closed %d", natsConnection_IsClosed(connection));
    fails("publish", natsConnection_PublishString(connection, "c", ""));
    fails("subscribe", natsConnection_SubscribeSync(&late, connection, "c"));
    fails("next message", natsSubscription_NextMsg(&message, sub, SILENCE_MS));
}

static void step_max_payload(void) {
    natsConnection *connection = connect();
    natsSubscription *sub = subscribe(connection, "m", NULL);
    char *bytes = filled(LIMIT + 1);
    int header = (int)strlen("NATS/1.0\r\nA: 1\r\n\r\n");
    must(natsConnection_Publish(connection, "m", bytes, LIMIT));
    say("%d bytes arrive", natsMsg_GetDataLength(next(sub)));
    must(natsConnection_PublishMsg(connection, with_header("m", NULL, bytes, LIMIT - header)));
    say("%d bytes with a header arrive", natsMsg_GetDataLength(next(sub)));
    fails("one more", natsConnection_Publish(connection, "m", bytes, LIMIT + 1));
    natsMsg *large = with_header("m", NULL, bytes, LIMIT - header + 1);
    fails("one more with a header", natsConnection_PublishMsg(connection, large));
    delivers(connection);
    natsConnection_Close(connection);
}

static void step_read_only(void) {
    natsConnection *connection = connect_with(login(loud_options(), "ro", "ropw"));
    natsConnection *writer = connect_with(login(options(), "rw", "rwpw"));
    natsSubscription *sub = subscribe(connection, "perm.>", NULL);
    natsMsg *message;
    barrier(connection);
    publish(connection, "perm.a", "refused");
    say("%s", next_word());
    must(natsConnection_PublishMsg(connection, with_header("perm.a", NULL, "refused", 7)));
    say("%s", next_word());
    fails("request", natsConnection_RequestString(&message, connection, "perm.b", "refused", SILENCE_MS));
    say("%s", next_word());
    publish(writer, "perm.a", "allowed");
    say("%s", natsMsg_GetData(next(sub)));
    natsConnection_Close(connection);
    natsConnection_Close(writer);
}

static void step_write_only(void) {
    natsConnection *connection = connect_with(login(loud_options(), "wo", "wopw"));
    natsConnection *reader = connect_with(login(options(), "rw", "rwpw"));
    natsSubscription *sub = subscribe(reader, "perm.>", NULL);
    barrier(reader);
    subscribe(connection, "perm.a", NULL);
    say("%s", next_word());
    subscribe(connection, "perm.*", "q");
    say("%s", next_word());
    publish(connection, "perm.a", "allowed");
    say("%s", natsMsg_GetData(next(sub)));
    natsConnection_Close(connection);
    natsConnection_Close(reader);
}

static natsOptions *secure_options(void) {
    natsOptions *all = options();
    must(natsOptions_LoadCATrustedCertificates(all, getenv("NATS_CA")));
    must(natsOptions_SetExpectedHostname(all, "localhost"));
    return all;
}

static void step_tls(void) {
    natsConnection *connection = connect_with(login(secure_options(), "rw", "rwpw"));
    delivers(connection);
    must(natsConnection_Publish(connection, "large", filled(LIMIT), LIMIT));
    barrier(connection);
    natsConnection_Close(connection);
    refused("unknown authority", options());
}

static void got(natsConnection *connection, natsSubscription *sub, natsMsg *message, void *closure) {
    (void)connection, (void)sub, (void)closure;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char once[MESSAGES];
    /* A flood's payloads are long. */
    if (natsMsg_GetDataLength(message) > 100)
        return;
    const char *text = natsMsg_GetData(message);
    pthread_mutex_lock(&lock);
    if (strstr(once, text))
        word("got", text);
    strncat(once, text, sizeof once - strlen(once) - 1);
    pthread_mutex_unlock(&lock);
    natsMsg_Destroy(message);
}

/* Prints the words of the client, and each message that has come to two subscriptions, until "end" has; after
 * `reconnected`, all is subscribed again. */
static void step_reconnect(void) {
    natsOptions *all = loud_options();
    must(natsOptions_SetName(all, "reconnecting"));
    must(natsOptions_SetAllowReconnect(all, true));
    must(natsOptions_SetMaxReconnect(all, 1000));
    natsConnection *connection = connect_with(all);
    natsSubscription *plain, *member, *limited = subscribe(connection, "limited", NULL);
    must(natsConnection_Subscribe(&plain, connection, "news.>", got, NULL));
    must(natsConnection_QueueSubscribe(&member, connection, "news.>", "q", got, NULL));
    must(natsSubscription_AutoUnsubscribe(limited, 3));
    barrier(connection);
    say("ready");
    const char *event;
    do {
        event = next_word();
        if (!strcmp(event, "reconnected")) {
            barrier(connection);
            publish(connection, "heard", "by others");
        }
        say("%s", event);
    } while (strcmp(event, "got end"));
    say_all("limited", limited);
    natsConnection_Close(connection);
}

static void read_line(void) {
    char line[100];
    if (!fgets(line, sizeof line, stdin))
        exit(1);
}

/* One of several clients at once: publishes at `go`, and lists what it got at `stop`. */
static void step_crowd(void) {
    const char *name = getenv("NATS_NAME");
    int each = 20, count = 0, all = atoi(getenv("NATS_SENDERS")) * each;
    natsConnection *connection = connect();
    natsSubscription *plain = subscribe(connection, "crowd.*", NULL), *member = subscribe(connection, "crowd.>", "q");
    natsMsg *messages[MESSAGES];
    barrier(connection);
    say("ready");
    read_line();
    for (int number = 0; number < each; number++) {
        char subject[100], text[100];
        snprintf(subject, sizeof subject, "crowd.%s", name);
        snprintf(text, sizeof text, "%s %d", name, number);
        publish(connection, subject, text);
    }
    while (count < all)
        messages[count++] = next(plain);
    say("all");
    read_line();
    barrier(connection);
    for (; waiting(plain) && count < MESSAGES; count++)
        messages[count] = next(plain);
    for (int index = 0; index < count; index++)
        say("plain %s", natsMsg_GetData(messages[index]));
    while (waiting(member))
        say("group %s", natsMsg_GetData(next(member)));
    natsConnection_Close(connection);
}

static void print_hex(const char *before, const char *bytes, int length) {
    printf("%s", before);
    for (int index = 0; index < length; index++)
        printf("%02x", (unsigned char)bytes[index]);
    if (!length)
        printf("-");
}

static void show(natsConnection *connection, natsSubscription *sub, natsMsg *message, void *closure) {
    (void)connection, (void)sub, (void)closure;
    const char *subject = natsMsg_GetSubject(message), *reply = natsMsg_GetReply(message), *value;
    if (natsMsgHeader_Get(message, "A", &value) != NATS_OK)
        value = "";
    printf("%s:", step);
    print_hex(" ", subject, (int)strlen(subject));
    print_hex(" ", natsMsg_GetData(message), natsMsg_GetDataLength(message));
    print_hex(" ", reply ? reply : "", reply ? (int)strlen(reply) : 0);
    print_hex(" ", value, (int)strlen(value));
    printf("\n");
    fflush(stdout);
    natsMsg_Destroy(message);
}

/* Reads a word in hexadecimal digits, or a hyphen, and writes its bytes with a NUL behind them. */
static int read_hex(const char *word, char *bytes) {
    int length = 0;
    unsigned byte;
    for (; sscanf(word + 2 * length, "%2x", &byte) == 1; length++)
        bytes[length] = (char)byte;
    bytes[length] = 0;
    return length;
}

/* Publishes what the lines of standard input say, and prints each message, its own ones too. A line has subject, payload,
 * reply and the header A, in hexadecimal digits; what is empty or absent is a hyphen. */
static void step_relay(void) {
    static char line[100000], bytes[4][50000];
    natsConnection *connection = connect();
    natsSubscription *sub;
    must(natsConnection_Subscribe(&sub, connection, ">", show, NULL));
    barrier(connection);
    say("ready");
    while (fgets(line, sizeof line, stdin)) {
        int lengths[4] = {0}, index = 0;
        for (char *word = strtok(line, " \n"); word && index < 4; word = strtok(NULL, " \n"), index++)
            lengths[index] = read_hex(word, bytes[index]);
        natsMsg *message;
        natsStatus status = natsMsg_Create(&message, bytes[0], lengths[2] ? bytes[2] : NULL, bytes[1], lengths[1]);
        if (status == NATS_OK && lengths[3])
            status = natsMsgHeader_Set(message, "A", bytes[3]);
        if (status == NATS_OK)
            status = natsConnection_PublishMsg(connection, message);
        if (status != NATS_OK)
            say("refused %s %s", bytes[0], natsStatus_GetText(status));
        barrier(connection);
    }
    natsConnection_Close(connection);
}

static const struct {
    const char *name;
    void (*run)(void);
} steps[] = {
    {"connect", step_connect},
    {"login", step_login},
    {"wrong_login", step_wrong_login},
    {"login_required", step_login_required},
    {"wildcards", step_wildcards},
    {"groups", step_groups},
    {"publish", step_publish},
    {"headers", step_headers},
    {"request", step_request},
    {"nobody", step_nobody},
    {"auto_unsubscribe", step_auto_unsubscribe},
    {"no_echo", step_no_echo},
    {"flush", step_flush},
    {"drain", step_drain},
    {"close", step_close},
    {"max_payload", step_max_payload},
    {"read_only", step_read_only},
    {"write_only", step_write_only},
    {"tls", step_tls},
    {"reconnect", step_reconnect},
    {"crowd", step_crowd},
    {"relay", step_relay},
};

int main(int count, char **arguments) {
    if (count < 3)
        return 2;
    host = arguments[1];
    port = arguments[2];
    for (int index = 3; index < count; index++) {
        void (*run)(void) = NULL;
        for (size_t known = 0; known < sizeof steps / sizeof *steps; known++)
            if (!strcmp(steps[known].name, arguments[index]))
                run = steps[known].run;
        if (!run)
            return 2;
        step = arguments[index];
        run();
    }
    return 0;
}
