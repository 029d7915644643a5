//! The verbs of all languages, by which requests are counted.

use crate::protocol::Language;

macro_rules! verbs {
    ($($language:ident { $($name:ident $word:literal,)* })*) => {
        /// A verb of a language, as far as requests are told apart in the statistics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Verb {
            $($($name,)*)*
        }

        impl Verb {
            pub const ALL: &[Verb] = &[$($(Verb::$name,)*)*];

            /// The language and the word of a request's verb.
            pub fn words(self) -> (Language, &'static str) {
                match self {
                    $($(Verb::$name => (Language::$language, $word),)*)*
                }
            }

            /// Reports whether such requests ask how the server is doing. They are not to be taken for its work.
            pub fn is_monitoring(self) -> bool {
                self == Verb::Status || self.words().0 == Language::Http
            }
        }
    };
}

verbs! {
    // In the order of the commands, so that no table is needed to find the place of a count.
    Clacks {
        Identify "CLACKS",
        ClearCache "CLEARCACHE",
        ClientDisconnect "CLIENTDISCONNECT",
        ClientList "CLIENTLIST",
        Decrement "DECREMENT",
        Expire "EXPIRE",
        Flush "FLUSH",
        Increment "INCREMENT",
        KeyInfo "KEYINFO",
        KeyList "KEYLIST",
        KeySync "KEYSYNC",
        Listen "LISTEN",
        Monitor "MONITOR",
        NoPing "NOPING",
        Nop "NOP",
        Notify "NOTIFY",
        Overhead "OVERHEAD",
        Ping "PING",
        ListenToPattern "PLISTEN",
        UnlistenToPattern "PUNLISTEN",
        Quit "QUIT",
        Remove "REMOVE",
        Retrieve "RETRIEVE",
        Set "SET",
        SetAndStore "SETANDSTORE",
        Status "STATUS",
        Store "STORE",
        Ttl "TTL",
        Unlisten "UNLISTEN",
        Unmonitor "UNMONITOR",
        Unknown "unknown",
    }
    Memcached {
        Get "get",
        Gat "gat",
        SetEntry "set",
        Add "add",
        Replace "replace",
        Append "append",
        Prepend "prepend",
        Cas "cas",
        Delete "delete",
        Touch "touch",
        Incr "incr",
        Decr "decr",
        MetaGet "mg",
        MetaStore "ms",
        MetaDelete "md",
        MetaCount "ma",
        MetaDebug "me",
        MetaNoop "mn",
        FlushAll "flush_all",
        Stats "stats",
        Administration "administration",
        Login "login",
        Wrong "wrong",
    }
    Nats {
        Publish "PUB",
        PublishWithHeader "HPUB",
        Subscribe "SUB",
        Unsubscribe "UNSUB",
        Connect "CONNECT",
        NatsPing "PING",
        Pong "PONG",
        OtherNats "other",
    }
    Http {
        Health "healthz",
        Metrics "metrics",
        StatusDocument "status.json",
        Events "events",
        PageFile "page",
        OtherHttp "other",
    }
}

/// The number of verbs.
pub const VERBS: usize = Verb::ALL.len();
