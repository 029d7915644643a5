//! Every cap and default, each with its reason. Flags override the defaults; the caps are fixed.

use std::time::Duration;

/// Sizes.
pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;
pub const GIB: usize = 1024 * MIB;

/// Microseconds in a second.
pub const SECOND_US: u64 = 1_000_000;

// Defaults of flags (clacksd(8)).

/// The port Net::Clacks installations use.
pub const DEFAULT_PORT: u16 = 49888;
/// A few hundred processes are usual; ten thousand leave room without a surprise in memory.
pub const MAX_CLIENTS: usize = 10_000;
/// Cached values of several megabytes occur (rendered pages); more is a mistake.
pub const MAX_LINE: usize = 16 * MIB;
/// Four of the longest lines.
pub const MAX_OUTPUT: usize = 64 * MIB;
/// What a machine that runs other things can spare for slow peers.
pub const MAX_BUFFERS: usize = GIB;
/// To connect, shake hands and log in.
pub const AUTH_TIMEOUT_S: f64 = 15.0;
/// Net::Clacks clients PING at a third of this.
pub const PING_TIMEOUT_S: f64 = 180.0;
/// A peer that takes nothing for so long is gone or stuck.
pub const STALLED_WRITE_TIMEOUT_S: f64 = 60.0;
/// The same for interclacks links.
pub const INTERCLACKS_STALLED_WRITE_TIMEOUT_S: f64 = 120.0;
/// Without PING, KEYSYNC or STATE on an interclacks link.
pub const INTERCLACKS_PING_TIMEOUT_S: f64 = 60.0;
/// How long one address of a master's name may take to answer before the next one is tried.
pub const CONNECT_SHARE_US: u64 = 3 * SECOND_US;
/// Between two dials, as Net::Clacks does it.
pub const INTERCLACKS_RECONNECT_S: f64 = 30.0;
/// Ageing, as Net::Clacks does it.
pub const STALE_TIME_S: f64 = 86_400.0;
pub const DELETED_TIME_S: f64 = 3_600.0;
pub const CLEAN_INTERVAL_S: f64 = 60.0;

// The protocol.

/// A token with long names fits; what hasn't logged in holds no more memory than this.
pub const MAX_LINE_BEFORE_LOGIN: usize = 4 * KIB;
/// Forwarded lines (OVERHEAD with G) go to clients that have asked for nothing.
pub const MAX_FORWARDED_LINE: usize = 4 * KIB;
/// A client's identification is for people to read in CLIENTLIST.
pub const MAX_CLIENT_INFO: usize = 256;
/// Silence after which a client gets a NOP, so that it and routers on the way see a live connection.
pub const NOP_AFTER_US: u64 = 60 * SECOND_US;
/// Listings are sorted up to so many names: with more, there would be many passes for those that come next.
pub const SORTED_KEYS: usize = 10_000;
/// The same, of the bytes of the names together.
pub const SORTED_KEY_BYTES: usize = 512 * KIB;
/// Memory of the names that a listing keeps at once: a client may ask for one on each of many connections.
pub const SELECTED_BYTES: usize = 128 * KIB;
/// Memory of the names that are sorted for a Net::Clacks server whose link has come up.
pub const SORTED_BYTES: usize = 4 * MIB;
/// Output produced per slice of a listing: fills a socket's buffer, and is a fraction of a
/// millisecond's work.
pub const LISTING_SLICE: usize = 64 * KIB;
/// An answer that copies a value of so much is made when the connection's turn for a slice comes: many who ask for one at
/// once delay nobody else.
pub const LONG_ANSWER: usize = 32 * KIB;
/// Names taken from a sorted set per slice: freeing one takes some tens of nanoseconds, looking one up some hundreds.
/// Those that are gone by then make no output.
pub const NAMES_PER_SLICE: usize = 1_000;
/// The longest text of a time in seconds: some times as many digits as a double has. It is read in microseconds.
pub const MAX_SECONDS_LENGTH: usize = 64;
/// The longest time that anybody may ask for, which keeps the arithmetic far from overflow.
pub const CENTURY_S: u64 = 100 * 365 * 86_400;

/// How long before its end a certificate is warned of: whoever renews by hand has two weekends for it.
pub const CERTIFICATE_NOTICE_S: u64 = 14 * 86_400;
/// Between two looks at the dates of the certificates in use.
pub const CERTIFICATE_CHECK_US: u64 = 86_400 * SECOND_US;

/// How far ahead of the tree's time a peer's stamps may be, and the numbers of its signals; its writes win for as long.
pub const MAX_CLOCK_LEAD_US: u64 = 3600 * SECOND_US;
/// A slave's stamps may be ahead by so much less for each server above this one, and a master's by so much more for each
/// server from the root to this one: the next server's clock may show a little less, and a line that is taken here must
/// not end the link there. Clocks drift apart that much in days; if more, the next dial sets them right.
pub const CLOCK_LEAD_PER_HOP_US: u64 = 10 * SECOND_US;
/// How much the tree's time must have changed for slaves to be told again.
pub const CLOCK_STEP_US: u64 = 100_000;
/// Servers in a row, from the root to the last slave. A tree so deep is a mistake.
pub const MAX_PATH: usize = 64;
/// Senders of signals remembered at least, and half of those remembered at most; a sender is one run of one server.
pub const MAX_SIGNAL_ORIGINS: usize = 16_384;
/// New senders that one address may bring at once, beside one a second: those of a large tree that joins. Forgetting
/// anybody takes some times as many.
pub const MAX_NEW_SENDERS: u64 = 4096;
/// So many fewer new senders a slave may bring for each server above this one, which gets them from this one's address:
/// there has to be room for others then.
pub const NEW_SENDERS_PER_HOP: u64 = 512;
/// Addresses that have brought new senders lately and are remembered: more than there are links, as a rule.
pub const MAX_SENDER_BUDGETS: usize = 16_384;
/// How much faster or slower than this machine's monotonic clock the tree's may run: one part in so many. Twice what
/// an adjusted clock does at most.
pub const CLOCK_DRIFT_DIVISOR: u64 = 1_000;
/// Output that may wait for a link before changes are only noted by their names: what is sent of a name
/// later is its state then, however often it has changed meanwhile.
pub const LINK_BACKLOG: usize = 512 * KIB;
/// Shares of a counter, before it begins anew from its sum. Folding keeps them far below, unless a server counts
/// for days without its master.
pub const MANY_CONTRIBUTIONS: usize = 256;
/// A server counts under the same share id for a fourth of the deleted time, and for this time at least: ids say
/// their beginnings in seconds.
pub const MIN_SHARE_RENEWAL_US: u64 = 2 * SECOND_US;
/// What the folded share of a counter weighs at most. A share weighs an hour and some minutes in microseconds, so that
/// is for two hundred million of them.
pub const MAX_FOLDED_WEIGHT: u64 = 1 << 60;
/// Contributions folded per slice of the ageing walk, in some tens of microseconds.
pub const FOLDS_PER_SLICE: usize = 4096;
/// What a contribution costs when a counter is written as a whole, in bytes.
pub const WORK_PER_CONTRIBUTION: usize = 8;
/// As many as one STATE line may have: more is no honest server's.
pub const MAX_CONTRIBUTIONS: usize = 4096;
/// Counters that are noted because a Net::Clacks slave has counted them before the lock, and the length of their names:
/// there is some milliseconds' time for them, and together they take less than half a megabyte.
pub const MAX_EARLY_COUNTERS: usize = 1024;
pub const MAX_EARLY_NAME: usize = 256;
/// Longest time between two PINGs on an interclacks link: the other side's timeout may be shorter
/// than ours.
pub const MAX_LINK_PING_US: u64 = 3 * SECOND_US;
/// What a line between servers may have beside a client's: stamps, counters.
pub const PEER_LINE_EXTRA: usize = 64 * KIB;

// TLS.

/// A client's first message has some hundred bytes, two thousand with keys that withstand quantum
/// computers.
pub const MAX_CLIENT_HELLO: usize = 16 * KIB;
/// Bytes encrypted at once: what a record holds at most. So much waits beyond the output that is counted
/// when the socket takes no more.
pub const TLS_RECORD: usize = 16 * KIB;
/// What rustls reads at once, and has room for in its buffer.
pub const TLS_READ: usize = 4 * KIB;
/// What a TLS connection takes beside the messages and records that wait for their ends, as measured: keys, and a read
/// buffer of two pages. It is 8 KiB at first, and so much when values of some size have passed.
pub const TLS_MEMORY: usize = 12 * KIB;
/// What a server may send to prove who it is: its certificate with those that lead to its authority.
pub const MAX_SERVER_HANDSHAKE: usize = 64 * KIB;
/// How long TLS handshakes go on in one turn. A step is a tenth of a millisecond's work as a rule, and three
/// milliseconds' with an RSA key of 4096 bits: then it is one.
pub const HANDSHAKES_PER_TURN: Duration = Duration::from_micros(500);
/// How often it is logged that TLS handshakes come faster than they can be done.
pub const OVERLOAD_LOG_US: u64 = 5 * SECOND_US;

// Logging in.

/// Connections that may try to log in beyond the number of clients that there may be: whoever can manage
/// the server gets in when it is full.
pub const MAX_SURPLUS_CLIENTS: usize = 16;
/// How long one of these may take: somebody else may be waiting for the place.
pub const SURPLUS_LOGIN_US: u64 = 5 * SECOND_US;
/// One in so many places is out of reach for connections of one address that have not logged in. The others are enough
/// for all clients of a machine that come back at once, when the server has started again.
pub const PLACES_PER_KEPT_PLACE: usize = 4;
/// Connections of one address that may always try to log in: a small server's clients may all come at once.
pub const MIN_STRANGERS_PER_ORIGIN: usize = 64;
/// How much later each wrong login of a user makes the next answer. One wrong login is a mistake, which waits no
/// longer than a person takes to type.
pub const LOGIN_DELAY_STEP_US: u64 = SECOND_US / 2;
/// The longest delay of an answer: below [`SURPLUS_LOGIN_US`], and well below the time to log in.
pub const LOGIN_DELAY_MAX_US: u64 = 3 * SECOND_US;
/// How long a wrong login delays the next one: longer than it takes to guess again, so often as the longest delay
/// allows.
pub const WRONG_LOGIN_MEMORY_US: u64 = 60 * SECOND_US;
/// Users whose wrong logins are counted for one address, and addresses for which they are: 1.6 MB at most.
pub const WRONG_LOGINS_PER_ORIGIN: usize = 64;
pub const WRONG_LOGIN_ORIGINS: usize = 1024;
/// The name of a user that was tried is cut here in the log.
pub const MAX_TRIED_USER: usize = 64;

// Timers.

/// Deadlines at least this far away are put off to the next whole second, so that a thousand idle
/// connections wake the process once a second, not a thousand times a minute.
pub const COARSE_DEADLINE_US: u64 = 10 * SECOND_US;
/// How long a closed connection may take to accept what it is still owed.
pub const CLOSE_DRAIN_US: u64 = 5 * SECOND_US;
/// How long a connection that has got its last line stays at most, so that the line arrives before the end of the stream
/// does, and before a reset.
pub const LINGER_US: u64 = 2 * SECOND_US;
/// How soon it is looked at whether the peer at a Unix socket has read its last line: most read at once.
pub const END_CHECK_US: u64 = 1_000;
/// Of TCP only the peer's kernel tells what it has taken: a program that has other things to do now and then gets so much
/// time to read its last line.
pub const TCP_END_US: u64 = SECOND_US / 2;
/// From SIGTERM to the end at the latest: below the 5 seconds that are promised.
pub const SHUTDOWN_US: u64 = 4_500_000;
/// How long the answer to a client is held that loses half a second when the answer comes before the client has
/// looked for it once: many times as long as that takes, and little beside what such a client does in between.
pub const ANSWER_HOLD_US: u64 = 1_000;
/// Answers that are held once such a client was recognised. After them it is seen whether it still has to be.
pub const HELD_ANSWERS: u16 = 400;
/// Lines that may come with a question: such a client writes what has no answer together with the next question.
pub const MOST_LONE_LINES: usize = 4;
/// By how much half a second may seem longer or shorter: a process is woken late, and pauses of a client are not all the
/// same.
pub const HALF_SECOND_DOUBT_MS: u16 = 10;
/// So many half seconds in a row, though answers were held, are a client's own pauses.
pub const WAITS_IN_A_ROW: u8 = 4;
/// Pauses that may be such a wait and a pause of the client, and how many answers are held to see whether they become
/// shorter by that.
pub const TRIED_PAUSES_MS: std::ops::Range<u16> = 490..1500;
pub const MAX_TRIALS: u8 = 4;
/// Accepting rests this long when descriptors or memory have run out.
pub const ACCEPT_PAUSE_US: u64 = 100_000;
/// A message that the service manager's queue has no room for is sent again after this time.
pub const NOTIFY_RETRY_US: u64 = 100_000;
/// The service manager is told of new figures this often at most: they are for people to look at.
pub const NOTIFY_STATUS_US: u64 = 3 * SECOND_US;

// One turn of the loop. Work is counted in bytes moved; a line or a delivery counts for some more.

/// Bytes that one line with its table look-up is taken to be worth.
pub const WORK_PER_STEP: usize = 128;
/// Bytes that one delivery is taken to be worth, beside a fourth of what is copied: it goes where others
/// have just gone.
pub const WORK_PER_DELIVERY: usize = 32;
/// The same for a delivery that is one of a burst: only the write to the receiver is still to come, which
/// counts then.
pub const WORK_PER_DELIVERY_OF_BURST: usize = 8;
/// Bytes that one system call is taken to be worth.
pub const WORK_PER_SYSCALL: usize = 2 * KIB;
/// Bytes that a slice of a long answer is taken to be worth: mostly look-ups that nobody counts.
pub const WORK_PER_SLICE: usize = 128 * KIB;
/// One connection's share of a turn.
pub const WORK_PER_CONNECTION: usize = 64 * KIB;
/// The same before it has shown that it sends much: when a thousand begin to at once, a short question
/// waits behind so much of each.
pub const FIRST_SHARE: usize = 32 * KIB;
/// Work on lines of usual length is about so many times the bytes that they have.
pub const WORK_PER_BYTE_READ: usize = 3;
/// A record costs as much as the write that it is of, which is about so many times the bytes that it has.
pub const WORK_PER_BYTE_RECORDED: usize = 2;
/// A login, of a client that is logged in as well, costs so much: its token is decoded, hashed and compared. As measured:
/// two microseconds.
pub const WORK_PER_LOGIN: usize = KIB;
/// Clearing the cache costs so much, an empty one as well. As measured: five microseconds.
pub const WORK_PER_CLEAR: usize = 4 * KIB;
/// Parsing a literal of many digits costs so much beyond its bytes, and so much for each digit. As measured: 8 µs
/// with 21 digits, 30 µs with 705.
pub const WORK_PER_SLOW_LITERAL: usize = 4 * KIB;
pub const WORK_PER_DIGIT: usize = 16;
/// The share of a connection that carries the traffic of many: another server's clients all come by it. A
/// thousand entries that a new slave is told are that much, and take it two milliseconds.
pub const WORK_PER_TRUNK: usize = 128 * KIB;
/// All connections' share of a turn, about two milliseconds.
pub const WORK_PER_TURN: usize = MIB;
/// The share of those who send much, all together: each of their bytes may be one of a new page of
/// memory, which costs several times what moving it does.
pub const BULK_WORK_PER_TURN: usize = 256 * KIB;
/// Most bytes written to one connection in a turn: about what a socket's buffer takes. A reader that
/// is as fast as we are would be written to until the end of all that waits for it.
pub const WRITE_PER_CONNECTION: usize = 256 * KIB;
/// Work on lines that deliveries may wait for while there are more: a write to each listener costs a
/// hundred times what one more signal in it does.
pub const WORK_BEFORE_DELIVERIES: usize = 4 * WORK_PER_TURN;
/// Connections closed per turn.
pub const CLOSES_PER_TURN: usize = 128;
/// Connections accepted per listener and turn.
pub const ACCEPTS_PER_TURN: usize = 64;
/// Readiness events taken from the kernel per turn.
pub const EVENTS_PER_TURN: usize = 1024;
/// The read buffer that all connections share.
pub const SCRATCH: usize = 64 * KIB;
/// Output is kept in chunks of about this size: a slow peer's backlog is never copied to grow.
pub const OUTPUT_CHUNK: usize = 64 * KIB;
/// A write of so much costs hardly more per byte than one of more: about a chunk, which a burst of signals never
/// quite fills.
pub const MUCH_OUTPUT: usize = OUTPUT_CHUNK - SHARED_PAYLOAD;
/// Payloads from here on are shared among their receivers instead of copied to each.
pub const SHARED_PAYLOAD: usize = 4 * KIB;
/// A connection that waits for room gets it when less than this is queued.
pub const ROOM: usize = 16 * KIB;
/// Blocks of memory from this size on are taken from the system each by itself and given back at once.
/// So growing one moves its pages instead of copying them, and buffers that are gone leave no holes
/// between others: the memory in use is the memory that is counted.
pub const MAPPED_BLOCK: usize = 256 * KIB;
/// Lines and values from this length on are shared by all who keep or send them. Each has memory of its own, so that it
/// leaves no hole between others, and fresh memory costs several times what copying into it does.
pub const LONG_LINE: usize = MAPPED_BLOCK;
/// Memory of closed connections freed per turn: some times what can come in, and less than a
/// millisecond's work.
pub const FREED_PER_TURN: usize = 4 * MIB;
/// Emptied output buffers kept for the next connection that needs one.
pub const SPARE_BUFFERS: usize = 256;
/// Connections waiting to be accepted; the kernel caps it at net.core.somaxconn.
pub const BACKLOG: i32 = 4096;
/// Descriptors kept for listeners, signals, log, the dialler, and clients beyond the limit.
pub const RESERVED_DESCRIPTORS: usize = 32 + 2 * MAX_SURPLUS_CLIENTS;

// Senders that wait for receivers.

/// A connection may have so much of its output wait before its senders do: this part of half of the memory that is
/// left for all buffers. So the connections together never use up that half.
pub const ROOM_SHARE: usize = 8;
/// When that half is used up, each may still have this part of the whole: ten thousand of them take a sixth.
pub const LOW_ROOM_SHARE: usize = 65_536;
/// Lines up to this length may use twice the room of a receiver: a question is not to wait because a monitor is still
/// being sent what somebody else has stored.
pub const SHORT_LINE: usize = 4 * KIB;
/// Senders go on when a receiver has so much room again, which is soon: a link whose lines wait for a client here
/// still moves at the other end, so that senders wait for it there.
pub const ROOM_HYSTERESIS: usize = 64 * KIB;
/// Nobody waits for a receiver that has taken nothing for so long.
pub const RECEIVER_PATIENCE_US: u64 = SECOND_US;
/// A link carries the lines of many: it waits so long for a receiver, and then not for this one again until it has
/// room.
pub const LINK_PATIENCE_US: u64 = SECOND_US / 2;
/// And so long it waits for no other connection of that receiver's user: many of them, each a little too slow, would
/// hold up the lines of all one after the other.
pub const LINK_IMPATIENCE_US: u64 = 10 * SECOND_US;
/// How often a receiver that is waited for is looked at, whether it takes bytes.
pub const RECEIVER_CHECK_US: u64 = SECOND_US / 5;
/// Receivers looked at per turn; a look may be a write.
pub const RECEIVERS_PER_CHECK: usize = 64;
/// Senders that go on per turn and receiver: the first of them may fill it again.
pub const RESUMED_SENDERS: usize = 16;

// Ageing and freeing in slices.

/// Table segments aged, or segments and pages freed, per slice; a segment holds some hundred entries.
pub const SEGMENTS_PER_SLICE: usize = 4;
/// Blocks moved per slice, to empty pages that are mostly unused: each is a look-up and a copy.
pub const TIDY_BLOCKS_PER_SLICE: u32 = 128;
/// Entries looked at per slice when some have to go.
pub const EVICTIONS_PER_SLICE: usize = 256;

// The journal.

/// The longest line that `--max-line` may allow. Lengths in the journal have 32 bits.
pub const LONGEST_LINE: usize = GIB;
/// The longest name and the longest record that a journal may have, whatever the flags of the server that wrote it.
pub const MAX_RECORD_NAME: usize = LONGEST_LINE + PEER_LINE_EXTRA;
pub const MAX_RECORD: usize = MAX_RECORD_NAME + MAX_CONTRIBUTIONS * 33 + KIB;

/// A journal is written anew when it has grown by as much as it had then, and by this at least: small
/// ones are read in no time.
pub const MIN_REWRITE: u64 = 4 * MIB as u64;
/// So much of it at least is written at once: who asks meanwhile waits for some tens of microseconds.
pub const REWRITE_SLICE: usize = 16 * KIB;
/// And so much at most, in half a millisecond: as much as a turn records.
pub const MAX_REWRITE_SLICE: usize = 256 * KIB;
/// While more is on its way to the disk, writing the journal anew rests.
pub const REWRITE_BACKLOG: usize = MIB;
/// The same, when the journal has grown by twice as much as it should have.
pub const OVERDUE_REWRITE_BACKLOG: usize = SLOW_UNSAVED / 2;
/// When more is on its way to the disk, those wait with their writes that have recorded more than a fair share of it.
/// A disk that writes 10 MiB in a second answers a FLUSH within two or three seconds then.
pub const SLOW_UNSAVED: usize = 16 * MIB;
/// When more is on its way, all writes wait. It takes many connections, or long lines, to come so far.
pub const MAX_UNSAVED: usize = 64 * MIB;
/// Changes between authors of records that are remembered, beside two for each author.
pub const MAX_UNSAVED_RUNS: usize = 8192;
/// A link between servers that waits for the disk goes on a little once in this time, much less than the time after
/// which its peer would end a link that takes nothing; and so many bytes of lines at most.
pub const LINK_ALLOWANCE_US: u64 = 10 * SECOND_US;
pub const LINK_ALLOWANCE: usize = 64 * KIB;
/// While more is being written, what is recorded is not handed over: a name may be written again before.
pub const HANDED_OVER_AT_ONCE: usize = MIB;
/// Superseded records are dropped from what is not handed over when it has grown to this size, and each time it has
/// doubled since.
pub const COMPACTED_FROM: usize = 256 * KIB;
/// So much is written before it is committed and reported, though more waits: nobody's FLUSH waits for those who
/// come later, and what is written doesn't count as on its way.
pub const COMMITTED_AT_ONCE: usize = 16 * MIB;
/// A journal that is written anew is synced each time it has grown by so much.
pub const SYNCED_AT_ONCE: u64 = 8 * MIB as u64;
/// How much the thread that writes gives way to the loop, and to clients on the same machine: an answer
/// that waits for a core waits longer than the answer takes. As nice(1) has it, a third of the share of others.
pub const JOURNAL_NICENESS: i32 = 5;
/// When saving has failed, it is tried again after this time, then after twice as much, up to the second.
pub const JOURNAL_RETRY_US: u64 = SECOND_US;
/// Most room that is reserved behind a journal, for the one that replaces it when the disk is full: of a larger cache,
/// so much has to be left.
pub const MAX_JOURNAL_RESERVE: u64 = 64 * MIB as u64;
/// A journal that needs less room than this is not worth it.
pub const MIN_JOURNAL_RESERVE: u64 = 64 * KIB as u64;
/// How often a server that writes nothing looks whether its journal is still in its place: a moved file is noticed
/// soon, and an idle process is hardly woken.
pub const JOURNAL_LOOK_US: u64 = 10 * SECOND_US;
pub const JOURNAL_RETRY_MAX_US: u64 = 60 * SECOND_US;
/// How often changes reach the disk if nothing else is said.
pub const FSYNC_S: f64 = 1.0;

// Logging.

/// Lines per second and reason; the rest is counted.
pub const LOG_LINES_PER_SECOND: u32 = 5;
/// A log line is cut here: a pipe takes as much without blocking, or nothing (PIPE_BUF).
pub const MAX_LOG_LINE: usize = 4 * KIB;
