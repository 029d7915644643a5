//! Defaults of flags and caps that concern several modules, each with its reason. A cap that concerns one module only is
//! defined there. Flags override the defaults; the caps are fixed. Units are in the names: `_US` microseconds, `_MS`
//! milliseconds, `_S` seconds; sizes are in bytes.

use std::time::Duration;

/// A kibibyte, in bytes.
pub const KIB: usize = 1024;
/// A mebibyte, in bytes.
pub const MIB: usize = 1024 * KIB;
/// A gibibyte, in bytes.
pub const GIB: usize = 1024 * MIB;

/// Microseconds in a second.
pub const SECOND_US: u64 = 1_000_000;

// Defaults of flags (clacksd(8)).

/// The default port, which Net::Clacks installations use.
pub const DEFAULT_PORT: u16 = 49888;
/// The default port of `--memcached`, which is memcached's.
pub const MEMCACHED_PORT: u16 = 11211;
/// The most bytes of header and payload of a NATS message, with `--max-line` as large. It is that of NATS servers.
pub const MAX_PAYLOAD: usize = 1024 * KIB;
/// The most pairs of a pattern and a group that a link is told of.
pub const MAX_PAIRS_TOLD: usize = 100_000;
/// The default port of `--nats`, which is that of NATS servers.
pub const NATS_PORT: u16 = 4222;
/// The default port of `--http`, near [`DEFAULT_PORT`].
pub const HTTP_PORT: u16 = 49890;
/// The default of `--max-clients`. A few hundred clients are usual; ten thousand still need little memory.
pub const MAX_CLIENTS: usize = 10_000;
/// The default of `--max-line`. Values of several megabytes occur (rendered pages); larger ones are mistakes.
pub const MAX_LINE: usize = 16 * MIB;
/// The default of `--max-output`: four of the longest lines.
pub const MAX_OUTPUT: usize = 64 * MIB;
/// The default of `--max-buffers`: memory that a machine with other tasks can spare for slow peers.
pub const MAX_BUFFERS: usize = GIB;
/// The default of `--auth-timeout`: the time to connect, shake hands and log in.
pub const AUTH_TIMEOUT_S: f64 = 15.0;
/// The default of `--ping-timeout`. Net::Clacks clients send a PING at a third of this time.
pub const PING_TIMEOUT_S: f64 = 180.0;
/// The default of `--stalled-write-timeout`. A client that reads nothing for so long is gone or stuck.
pub const STALLED_WRITE_TIMEOUT_S: f64 = 60.0;
/// The default of `--interclacks-stalled-write-timeout`.
pub const INTERCLACKS_STALLED_WRITE_TIMEOUT_S: f64 = 120.0;
/// The default of `--interclacks-ping-timeout`: the time without PING, KEYSYNC or STATE on a link.
pub const INTERCLACKS_PING_TIMEOUT_S: f64 = 60.0;
/// The time limit for one address of a master's name before the next address is tried.
pub const CONNECT_SHARE_US: u64 = 3 * SECOND_US;
/// The default of `--interclacks-reconnect`: the interval between two dials, as in Net::Clacks.
pub const INTERCLACKS_RECONNECT_S: f64 = 30.0;
/// The default of `--stale-time`, as in Net::Clacks.
pub const STALE_TIME_S: f64 = 86_400.0;
/// The default of `--deleted-time`, as in Net::Clacks.
pub const DELETED_TIME_S: f64 = 3_600.0;
/// The default of `--clean-interval`, as in Net::Clacks.
pub const CLEAN_INTERVAL_S: f64 = 60.0;

// The protocol.

/// The longest line before the login. A token with long names fits, and a connection without a login needs little memory.
pub const MAX_LINE_BEFORE_LOGIN: usize = 4 * KIB;
/// The longest head of an HTTP request. Browsers send one of a kilobyte, with many cookies of a few.
pub const MAX_HTTP_HEAD: usize = 8 * KIB;
/// The most headers of an HTTP request. Browsers behind a few proxies send some thirty.
pub const MAX_HTTP_HEADERS: usize = 64;
/// The longest forwarded line (OVERHEAD with G). Such lines reach clients that have not asked for them.
pub const MAX_FORWARDED_LINE: usize = 4 * KIB;
/// The longest identification of a client, which people read in CLIENTLIST.
pub const MAX_CLIENT_INFO: usize = 256;
/// The silence after which a client gets a NOP, which shows the client and routers on the way that the connection is alive.
pub const NOP_AFTER_US: u64 = 60 * SECOND_US;
/// The largest number of names in a sorted listing. With more names, finding the next ones would take many passes.
pub const SORTED_KEYS: usize = 10_000;
/// The largest total length of the names in a sorted listing.
pub const SORTED_KEY_BYTES: usize = 512 * KIB;
/// The memory of the names that one listing selects at once. A client may request a listing on each of many connections.
pub const SELECTED_BYTES: usize = 128 * KIB;
/// The memory of the names that are sorted for a Net::Clacks server after its link was established.
pub const SORTED_BYTES: usize = 4 * MIB;
/// The output per slice of a listing. It fills a socket's buffer, and takes a fraction of a millisecond.
pub const LISTING_SLICE: usize = 64 * KIB;
/// The length from which an answer that copies a value is deferred to the connection's next slice, so that many requests
/// for large values at once delay nobody else.
pub const LONG_ANSWER: usize = 32 * KIB;
/// The number of names taken from a sorted set per slice. Freeing a name takes some tens of nanoseconds, looking it up some
/// hundreds. Names that were removed meanwhile produce no output, so the output does not limit the slice.
pub const NAMES_PER_SLICE: usize = 1_000;
/// The longest text of a time in seconds, a few times the digits of a double. Parsing it takes microseconds.
pub const MAX_SECONDS_LENGTH: usize = 64;
/// The longest time that can be requested. It keeps the arithmetic far from overflow.
pub const CENTURY_S: u64 = 100 * 365 * 86_400;

/// The time before the expiry of a certificate from which warnings are logged: two weekends for a renewal by hand.
pub const CERTIFICATE_NOTICE_S: u64 = 14 * 86_400;
/// The interval at which the dates of the certificates in use are checked.
pub const CERTIFICATE_CHECK_US: u64 = 86_400 * SECOND_US;

/// The largest lead of a peer's stamps and signal numbers over the tree's time. Its writes win for as long as they lead.
pub const MAX_CLOCK_LEAD_US: u64 = 3600 * SECOND_US;
/// The change of the largest lead per server: a slave's stamps may lead by so much less for each server above this one, and
/// a master's by so much more for each server from the root to this one. The clock of the next server may be a little
/// behind, and a line that is accepted here must not end the link there. Clocks drift apart by that much in days; the next
/// dial corrects a larger difference.
pub const CLOCK_LEAD_PER_HOP_US: u64 = 10 * SECOND_US;
/// The change of the tree's time from which slaves are informed again.
pub const CLOCK_STEP_US: u64 = 100_000;
/// The largest depth of a tree, in servers from the root to the last slave. A deeper tree is a mistake.
pub const MAX_PATH: usize = 64;
/// The number of signal senders that are remembered at least; at most twice as many are. A sender is one run of one server.
pub const MAX_SIGNAL_ORIGINS: usize = 16_384;
/// The burst of new senders that one address may introduce, beside one per second: those of a large tree that joins. A known
/// sender is only forgotten after several times as many.
pub const MAX_NEW_SENDERS: u64 = 4096;
/// The reduction of a slave's new senders per server above this one. That server receives them from this server's address,
/// and needs room for others from there.
pub const NEW_SENDERS_PER_HOP: u64 = 512;
/// The number of addresses with recent new senders that are remembered: usually more than there are links.
pub const MAX_SENDER_BUDGETS: usize = 16_384;
/// The largest drift of the tree's clock against this machine's monotonic clock, as one part in so many. It is twice the
/// largest drift of an adjusted clock.
pub const CLOCK_DRIFT_DIVISOR: u64 = 1_000;
/// The output that may wait for a link before only the names of changed entries are kept. The state of such a name is sent
/// later, once, however often it has changed meanwhile.
pub const LINK_BACKLOG: usize = 512 * KIB;
/// The number of shares from which a counter is restarted from its sum. Folding keeps the number far below, unless a server
/// counts for days without its master.
pub const MANY_CONTRIBUTIONS: usize = 256;
/// The shortest time for which a server counts under one share id; usually it is a fourth of the deleted time. Ids contain
/// their start in seconds.
pub const MIN_SHARE_RENEWAL_US: u64 = 2 * SECOND_US;
/// The largest weight of the folded share of a counter. One share weighs about an hour in microseconds, so this is enough
/// for two hundred million of them.
pub const MAX_FOLDED_WEIGHT: u64 = 1 << 60;
/// The number of contributions folded per slice of the expiry cycle, in some tens of microseconds.
pub const FOLDS_PER_SLICE: usize = 4096;
/// The work per contribution when a whole counter is written, in bytes.
pub const WORK_PER_CONTRIBUTION: usize = 8;
/// The largest number of contributions in a STATE line. No correct server sends more.
pub const MAX_CONTRIBUTIONS: usize = 4096;
/// The largest number of states in a STATES line: the memory that they need is fetched at once.
pub const STATES_PER_LINE: usize = REQUESTS_PREFETCHED;
/// The longest state in a STATES line. So all of them, with each byte escaped, are far below [`PEER_LINE_EXTRA`].
pub const MAX_PACKED_STATE: usize = 512;
/// The number of counters remembered because a Net::Clacks slave has counted them before the lock. The slave has only some
/// milliseconds for it, and the names take less than half a megabyte together.
pub const MAX_EARLY_COUNTERS: usize = 1024;
/// The longest name of such a counter.
pub const MAX_EARLY_NAME: usize = 256;
/// The longest interval between two PINGs on a link, since the other side's timeout may be shorter than ours.
pub const MAX_LINK_PING_US: u64 = 3 * SECOND_US;
/// The additional length of a line between servers, for stamps and counters. Name and value may have twice the length of
/// a client's line, since each byte may be escaped.
pub const PEER_LINE_EXTRA: usize = 64 * KIB;

// TLS.

/// The longest first message of a TLS client. It usually has some hundred bytes, and two thousand with post-quantum keys.
pub const MAX_CLIENT_HELLO: usize = 16 * KIB;
/// The number of bytes encrypted at once: the largest TLS record. So much waits in addition to the counted output when the
/// socket accepts no more.
pub const TLS_RECORD: usize = 16 * KIB;
/// The number of bytes that are read at once in a TLS handshake.
pub const TLS_READ: usize = 4 * KIB;
/// The memory of a TLS connection without incomplete messages and records, as measured: keys, and what rustls keeps beside
/// them.
pub const TLS_MEMORY: usize = 3_700;
/// The longest handshake of a server: its certificate with the chain to its authority.
pub const MAX_SERVER_HANDSHAKE: usize = 64 * KIB;
/// The time for TLS handshakes in one turn. A step usually takes a tenth of a millisecond. With an RSA key of 4096 bits it
/// takes three milliseconds, and one step is done per turn.
pub const HANDSHAKES_PER_TURN: Duration = Duration::from_micros(500);
/// The interval of log lines about TLS handshakes that arrive faster than they can be processed.
pub const OVERLOAD_LOG_US: u64 = 5 * SECOND_US;

// Logging in.

/// The number of connections that may try to log in beyond `--max-clients`, so that a user with the permission `manage` can
/// connect to a full server.
pub const MAX_SURPLUS_CLIENTS: usize = 16;
/// The time limit of such a login, since others may wait for the place.
pub const SURPLUS_LOGIN_US: u64 = 5 * SECOND_US;
/// One in so many places is not available to connections of one address that have not logged in. The others are enough for
/// all clients of a machine that reconnect at once after a restart of the server.
pub const PLACES_PER_KEPT_PLACE: usize = 4;
/// The number of connections of one address that may always try to log in: all clients of a small server may connect at
/// once.
pub const MIN_STRANGERS_PER_ORIGIN: usize = 64;
/// The additional delay of the answer per wrong login of a user. After a single mistake the delay is no longer than a person
/// takes to type.
pub const LOGIN_DELAY_STEP_US: u64 = SECOND_US / 2;
/// The longest delay of an answer, below [`SURPLUS_LOGIN_US`] and well below the time limit of a login.
pub const LOGIN_DELAY_MAX_US: u64 = 3 * SECOND_US;
/// The time for which a wrong login delays the next ones. Guessing as often as the longest delay allows keeps it running.
pub const WRONG_LOGIN_MEMORY_US: u64 = 60 * SECOND_US;
/// The number of users whose wrong logins are counted per address. The counts of all addresses take 1.6 MB at most.
pub const WRONG_LOGINS_PER_ORIGIN: usize = 64;
/// The number of addresses whose wrong logins are counted.
pub const WRONG_LOGIN_ORIGINS: usize = 1024;
/// The length to which the tried user name is cut in the log.
pub const MAX_TRIED_USER: usize = 64;

// Timers.

/// The distance from which deadlines are rounded up to the next whole second, so that a thousand idle connections wake the
/// process once a second instead of a thousand times a minute.
pub const COARSE_DEADLINE_US: u64 = 10 * SECOND_US;
/// The time limit for a closing connection to accept its remaining output.
pub const CLOSE_DRAIN_US: u64 = 5 * SECOND_US;
/// The longest time for which a connection stays open after its last line, so that the line arrives before the end of the
/// stream and before a reset.
pub const LINGER_US: u64 = 2 * SECOND_US;
/// The time after which a check is made if the peer of a Unix socket has read its last line. Most read it at once.
pub const END_CHECK_US: u64 = 1_000;
/// The time for the program at the other end of a TCP connection to read its last line. TCP only tells what the peer's
/// kernel has received, and the program may be busy.
pub const TCP_END_US: u64 = SECOND_US / 2;
/// The longest time from SIGTERM to the end, below the promised 5 seconds.
pub const SHUTDOWN_US: u64 = 4_500_000;
/// The delay of an answer to a client that loses half a second if the answer arrives before its first poll. It is much longer
/// than the time to that poll, and short compared with the work of such a client.
pub const ANSWER_HOLD_US: u64 = 1_000;
/// The number of delayed answers after such a client was recognised. After them the client is tested again.
pub const HELD_ANSWERS: u16 = 400;
/// The number of lines that may precede a question in one write: such a client buffers lines without an answer until its
/// next question.
pub const MOST_LONE_LINES: usize = 4;
/// The tolerance for the half second: a process is woken late, and the pauses of a client vary.
pub const HALF_SECOND_DOUBT_MS: u16 = 10;
/// The number of consecutive half seconds in spite of delayed answers from which they count as the client's own pauses.
pub const WAITS_IN_A_ROW: u8 = 4;
/// The range of pauses that may consist of such a wait and a pause of the client's own.
pub const TRIED_PAUSES_MS: std::ops::Range<u16> = 490..1500;
/// The number of answers that are delayed to see if such pauses become shorter.
pub const MAX_TRIALS: u8 = 4;
/// The range of pauses, less the smallest one, that may be such a wait and a pause that is different each time. From 350 on, because
/// the smallest one is known only roughly then.
pub const WAIT_AND_PAUSE_MS: std::ops::Range<u16> = 350..1500;
/// The number of questions within a millisecond of a delayed answer after which a client that only may be such a client is
/// none: it loses more by the delay than it could gain.
pub const MOST_HASTE: u8 = 8;
/// The number of such clients that are remembered, to delay the first answers of their next connections.
pub const RECOGNISED: usize = 64;
/// The time for which they are remembered after they have waited in vain.
pub const RECOGNISED_FOR_US: u64 = 24 * 3600 * SECOND_US;
/// The pause of accepting connections after descriptors or memory have run out.
pub const ACCEPT_PAUSE_US: u64 = 100_000;
/// The time after which a message is sent again if the service manager's queue was full.
pub const NOTIFY_RETRY_US: u64 = 100_000;
/// The shortest interval of status messages to the service manager, which people read.
pub const NOTIFY_STATUS_US: u64 = 3 * SECOND_US;

// One turn of the loop. Work is measured in bytes moved; other work is converted to bytes.

/// The work of one line with its look-up.
pub const WORK_PER_STEP: usize = 128;
/// The work of one line that is handled together with the one before it, in addition to its bytes.
pub const WORK_PER_LINE_OF_RUN: usize = 32;
/// The work of one delivery, in addition to a fourth of the copied bytes, whose source is in the processor's cache.
pub const WORK_PER_DELIVERY: usize = 32;
/// The work of a delivery in a burst, without the write to the receiver, which is counted when it happens.
pub const WORK_PER_DELIVERY_OF_BURST: usize = 8;
/// The work at one node in the tree of patterns, mostly a look-up.
pub const WORK_PER_NODE: usize = 64;
/// The work of a subscription that is found and put in order.
pub const WORK_PER_MATCH: usize = 64;
/// The work of a pair of a pattern and a group that comes, goes or is told to a link: it is put into sorted sets.
pub const WORK_PER_PAIR: usize = 512;
/// The work of a member of a group that is looked at again.
pub const WORK_PER_MEMBER: usize = 1;
/// The work of one system call.
pub const WORK_PER_SYSCALL: usize = 2 * KIB;
/// The work of one slice of a long answer, mostly look-ups.
pub const WORK_PER_SLICE: usize = 128 * KIB;
/// The work for one connection in a turn.
pub const WORK_PER_CONNECTION: usize = 64 * KIB;
/// The work for a connection in a turn before it is known to send much. If a thousand connections begin to send at once, a
/// short question waits for so much work of each.
pub const FIRST_SHARE: usize = 32 * KIB;
/// The work on lines of usual length, as a multiple of their bytes.
pub const WORK_PER_BYTE_READ: usize = 3;
/// The work of a journal record, as a multiple of its bytes: as much as the recorded write.
pub const WORK_PER_BYTE_RECORDED: usize = 2;
/// The work of copying a stored value in another form or for a change, as a multiple of its bytes: all of it is read, and
/// needs fresh memory.
pub const WORK_PER_BYTE_COPIED: usize = 2;
/// The work on a page of figures, as a multiple of its bytes: most of them are formatted numbers.
pub const WORK_PER_BYTE_OF_PAGE: usize = 8;
/// The work of a login, also of a client that is logged in already: decoding, hashing and comparing its token. Measured: two
/// microseconds.
pub const WORK_PER_LOGIN: usize = KIB;
/// The work that a request does beyond its connection's share of the turn if it is to be shown as slow: some hundred
/// microseconds.
pub const HEAVY_WORK: usize = 64 * KIB;
/// The length of a turn from which on the request that did most of its work is shown as slow.
pub const SLOW_TURN_US: u64 = 2_000;
/// The users that a status shows with their connections, of those that have most.
pub const USERS_SHOWN: usize = 100;
/// The work of looking at some entries for large ones.
pub const WORK_PER_SAMPLE: usize = 128 * KIB;
/// The largest entries that a status shows, of those that it looks at.
pub const LARGEST_ENTRIES_SHOWN: usize = 32;
/// The work of clearing the cache, even an empty one. Measured: five microseconds.
pub const WORK_PER_CLEAR: usize = 4 * KIB;
/// The work of parsing a number with many digits, in addition to the work of its line and digits. Measured: 8 µs with 21
/// digits, 30 µs with 705.
pub const WORK_PER_SLOW_LITERAL: usize = 4 * KIB;
/// The work per digit of such a number.
pub const WORK_PER_DIGIT: usize = 16;
/// The work for a link in a turn: it carries the traffic of many clients. A thousand entries sent to a new slave are so much,
/// and take the slave two milliseconds.
pub const WORK_PER_LINK: usize = 128 * KIB;
/// The work for all connections in a turn, about two milliseconds.
pub const WORK_PER_TURN: usize = MIB;
/// The work for all connections that send much, in a turn. Their bytes may need new pages of memory, which cost several times
/// as much as moving the bytes.
pub const BULK_WORK_PER_TURN: usize = 256 * KIB;
/// The largest number of bytes written to one connection in a turn, about the size of a socket's buffer. Without the limit,
/// a reader as fast as this server could take all of its output in one turn.
pub const WRITE_PER_CONNECTION: usize = 256 * KIB;
/// The work on lines for which deliveries may wait while more signals arrive: a write to each listener costs a hundred times
/// as much as one more signal in it.
pub const WORK_BEFORE_DELIVERIES: usize = 4 * WORK_PER_TURN;
/// The number of connections closed per turn.
pub const CLOSES_PER_TURN: usize = 128;
/// The number of connections accepted per listener and turn.
pub const ACCEPTS_PER_TURN: usize = 64;
/// The number of readiness events taken from the kernel per turn.
pub const EVENTS_PER_TURN: usize = 1024;
/// The size of the read buffer that all connections share.
pub const SCRATCH: usize = 64 * KIB;
/// The approximate size of chunks of output. The backlog of a slow peer grows without being copied.
pub const OUTPUT_CHUNK: usize = 64 * KIB;
/// The amount of output from which a larger write is hardly cheaper per byte: about a chunk, which a burst of signals never
/// quite fills.
pub const MUCH_OUTPUT: usize = OUTPUT_CHUNK - SHARED_PAYLOAD;
/// The length from which payloads are shared among their receivers instead of copied to each.
pub const SHARED_PAYLOAD: usize = 4 * KIB;
/// The amount of queued output below which a waiting connection may continue.
pub const LOW_WATER_MARK: usize = 16 * KIB;
/// The size from which memory blocks are mapped one by one, and unmapped at once when freed. Growing such a block moves its
/// pages instead of copying them, and freed buffers leave no holes between others, so that the memory in use is the memory
/// that is counted.
pub const MAPPED_BLOCK: usize = 256 * KIB;
/// The size from which the allocator maps blocks. With that of [`MAPPED_BLOCK`] a block that grows could still find room in
/// the heap for that size, and leave a hole there.
pub const MAPPED_FROM: usize = MAPPED_BLOCK / 2;
/// Requests that are decoded before the first of them is handled, to fetch the memory that they will need at once: as
/// many as processors have fetches under way, or a few more.
pub const REQUESTS_PREFETCHED: usize = 32;
/// The length from which a line or value is shared by everything that keeps or sends it. Each has a mapped block, so that it
/// leaves no hole between others, and mapping fresh memory costs several times as much as copying into it.
pub const LONG_LINE: usize = MAPPED_BLOCK;
/// The memory of closed connections freed per turn: a few times as much as can arrive, and less than a millisecond of work.
pub const FREED_PER_TURN: usize = 4 * MIB;
/// The number of empty output buffers kept for reuse.
pub const SPARE_BUFFERS: usize = 256;
/// The number of connections that may wait to be accepted. The kernel limits it to net.core.somaxconn.
pub const BACKLOG: i32 = 4096;
/// The number of descriptors reserved for listeners, signals, the log, the dialler, and connections beyond the limit.
pub const RESERVED_DESCRIPTORS: usize = 32 + 2 * MAX_SURPLUS_CLIENTS;

// Senders that wait for receivers.

/// The queued output of a connection from which its senders wait, as a fraction of half of the memory left for all buffers.
/// So the connections together never use up that half.
pub const ROOM_SHARE: usize = 8;
/// The queued output that each connection may always have, as a fraction of `--max-buffers`: ten thousand connections take
/// a sixth.
pub const LOW_ROOM_SHARE: usize = 65_536;
/// The length up to which lines may use twice the room of a receiver. A question should not wait because a large value is
/// still being sent to a monitoring client.
pub const SHORT_LINE: usize = 4 * KIB;
/// The room of a receiver from which its senders continue. It is small: a link whose lines wait for a client here soon moves
/// again at the other end, so that senders wait for it there.
pub const ROOM_HYSTERESIS: usize = 64 * KIB;
/// The time after which senders no longer wait for a receiver that has read nothing.
pub const RECEIVER_PATIENCE_US: u64 = SECOND_US;
/// The longest time for which a link waits for a receiver, since it carries the lines of many clients. It does not wait for
/// that receiver again until the receiver has room.
pub const LINK_PATIENCE_US: u64 = SECOND_US / 2;
/// The time for which a link then waits for no other connection of that receiver's user. Many connections, each a little too
/// slow, would delay the lines of all clients one after the other.
pub const LINK_IMPATIENCE_US: u64 = 10 * SECOND_US;
/// The interval at which a slow receiver is checked for progress.
pub const RECEIVER_CHECK_US: u64 = SECOND_US / 5;
/// The number of receivers checked per turn. A check may be a write.
pub const RECEIVERS_PER_CHECK: usize = 64;
/// The number of senders that continue per turn and receiver. The first of them may fill the receiver's output again.
pub const RESUMED_SENDERS: usize = 16;

// Ageing and freeing in slices.

/// The number of hash table segments scanned or freed, or of pages freed, per slice. A segment has some hundred entries.
pub const SEGMENTS_PER_SLICE: usize = 4;
/// The number of blocks moved per slice of defragmentation. Each move is a look-up and a copy.
pub const TIDY_BLOCKS_PER_SLICE: u32 = 128;
/// The number of entries examined per slice of eviction.
pub const EVICTIONS_PER_SLICE: usize = 256;

// The journal.

/// The largest value of `--max-line`. Lengths in the journal have 32 bits.
pub const LONGEST_LINE: usize = GIB;
/// The longest name in a journal, whatever the flags of the server that wrote it.
pub const MAX_RECORD_NAME: usize = LONGEST_LINE + PEER_LINE_EXTRA;
/// The longest record in a journal, whatever the flags of the server that wrote it.
pub const MAX_RECORD: usize = MAX_RECORD_NAME + MAX_CONTRIBUTIONS * 33 + KIB;

/// The smallest growth after which a journal is rewritten. Otherwise it is rewritten when it has doubled since the last
/// rewrite; small journals are read in no time.
pub const MIN_REWRITE: u64 = 4 * MIB as u64;
/// The smallest slice of a rewrite: requests wait for some tens of microseconds meanwhile.
pub const REWRITE_SLICE: usize = 16 * KIB;
/// The largest slice of a rewrite, half a millisecond of work: as much as a turn records.
pub const MAX_REWRITE_SLICE: usize = 256 * KIB;
/// The number of unwritten bytes above which a rewrite pauses.
pub const REWRITE_BACKLOG: usize = MIB;
/// The number of unwritten bytes above which an overdue rewrite pauses: one of a journal that has grown by twice as much as
/// it should have.
pub const OVERDUE_REWRITE_BACKLOG: usize = SLOW_UNSAVED / 2;
/// The number of unwritten bytes above which the clients with more than a fair share of them wait with their writes. A disk
/// that writes 10 MiB per second answers a FLUSH within two or three seconds then.
pub const SLOW_UNSAVED: usize = 16 * MIB;
/// The number of unwritten bytes of which each user may have a fair share: above it, all writes of the user wait. A line
/// of the longest length that comes then still leaves room for the writes of others.
pub const MAX_UNSAVED_OF_USERS: usize = 2 * SLOW_UNSAVED;
/// The number of unwritten bytes above which all writes wait. Only many users, or long lines, reach it.
pub const MAX_UNSAVED: usize = 64 * MIB;
/// The number of runs of unwritten records by one author that are remembered, in addition to two per author.
pub const MAX_UNSAVED_RUNS: usize = 8192;
/// The interval at which a link that waits for the disk continues for a moment. It is much shorter than the time after which
/// the peer would end a link that reads nothing.
pub const LINK_ALLOWANCE_US: u64 = 10 * SECOND_US;
/// The number of bytes of lines that such a link may process each time.
pub const LINK_ALLOWANCE: usize = 64 * KIB;
/// The number of bytes being written above which further records stay with the event loop, where a later write of the same
/// name supersedes them.
pub const HANDED_OVER_AT_ONCE: usize = MIB;
/// The size of such records from which superseded ones are dropped, and again each time the size has doubled since.
pub const COMPACTED_FROM: usize = 256 * KIB;
/// The number of bytes written before they are committed and reported even though more wait, so that a FLUSH does not wait
/// for later writes, and written bytes soon stop counting as unwritten.
pub const COMMITTED_AT_ONCE: usize = 16 * MIB;
/// The growth after which a rewritten journal in progress is synced.
pub const SYNCED_AT_ONCE: u64 = 8 * MIB as u64;
/// The nice value of the thread that writes the journal: a third of the processor share of others, so that it does not delay
/// the event loop and clients on the same machine.
pub const JOURNAL_NICENESS: i32 = 5;
/// The first interval after which failed saving is tried again. Each failure doubles it, up to [`JOURNAL_RETRY_MAX_US`].
pub const JOURNAL_RETRY_US: u64 = SECOND_US;
/// The largest disk space reserved after a journal, for the rewritten journal on a full disk.
pub const MAX_JOURNAL_RESERVE: u64 = 64 * MIB as u64;
/// The smallest disk space that is worth reserving.
pub const MIN_JOURNAL_RESERVE: u64 = 64 * KIB as u64;
/// The interval at which a server without writes checks that its journal is still in place. A moved file is noticed soon, and
/// an idle process is seldom woken.
pub const JOURNAL_LOOK_US: u64 = 10 * SECOND_US;
/// The longest interval after which failed saving is tried again.
pub const JOURNAL_RETRY_MAX_US: u64 = 60 * SECOND_US;
/// The default of `--fsync`.
pub const FSYNC_S: f64 = 1.0;

// Logging.

/// The number of log lines per second and reason. Further ones are counted.
pub const LOG_LINES_PER_SECOND: u32 = 5;
/// The longest log line. A pipe accepts as much without blocking, or nothing (PIPE_BUF).
pub const MAX_LOG_LINE: usize = 4 * KIB;
