//! The attributes of an entry: all there is to know of it beside its value and its stamp. Entries of Clacks clients
//! have none.

/// The attributes of an entry, in one state of its name. All times are the tree's, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// The number that a memcached client stored with the value, for its own use.
    pub client_flags: u32,
    /// When the entry expires; `None`: never.
    pub expires_us: Option<u64>,
    /// The time of the latest touch. If there was one, [`Attributes::expires_us`] is the expiry that it set.
    pub touched_us: Option<u64>,
    /// The version number that a client gave to the entry. It counts until the entry is counted or written.
    pub version: Option<u64>,
    pub marks: Marks,
}

/// The marks of an entry, each either there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Its name came in base64, and memcached clients are told it so.
    pub base64: bool,
    /// The value is out of date; one client is to renew it.
    pub stale: bool,
    /// A client was told to renew the value.
    pub won: bool,
}

impl Attributes {
    /// Reports whether the entry has expired at that time.
    pub fn has_expired(&self, now_us: u64) -> bool {
        self.expires_us
            .is_some_and(|expires_us| expires_us <= now_us)
    }

    /// The touch and the won mark, which change without a new stamp, without the other attributes.
    pub fn touch(&self) -> Attributes {
        Attributes {
            expires_us: self.expires_us.filter(|_| self.touched_us.is_some()),
            touched_us: self.touched_us,
            marks: Marks {
                won: self.marks.won,
                ..Marks::default()
            },
            ..Attributes::default()
        }
    }

    /// Reports whether there are none: the entry is as a Clacks client stores it.
    pub fn is_empty(&self) -> bool {
        *self == Attributes::default()
    }
}
