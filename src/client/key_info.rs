//! The figures of entries, for those who look after a cache.

use super::Client;
use super::error::Error;
use super::text::Text;
use super::ttl::Ttl;
use super::without_line_breaks;
use crate::protocol::reply::Reply;

/// An entry of the cache, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    pub name: Text,
    /// Bytes of the value.
    pub size: u64,
    /// Seconds since the entry was last written.
    pub age_s: u64,
    /// The time until the entry expires.
    pub ttl: Ttl,
}

impl Client {
    /// Returns the entries whose names begin with the prefix, in no particular order. It counts as no use of them. A
    /// server of Net::Clacks refuses it.
    pub fn key_info(&mut self, prefix: impl AsRef<[u8]>) -> Result<Vec<KeyInfo>, Error> {
        let prefix = without_line_breaks(prefix.as_ref())?;
        let mut entries = Vec::new();
        self.ask(&[b"KEYINFO ", prefix], |reply| {
            match reply {
                Reply::KeyInfoStart => entries.clear(),
                Reply::KeyInfo(info) => entries.push(KeyInfo {
                    name: info.name.into(),
                    size: info.size,
                    age_s: info.age_s,
                    ttl: Ttl::decode(info.ttl)?,
                }),
                Reply::KeyInfoEnd => return Some(()),
                _ => {}
            }
            None
        })?;
        Ok(entries)
    }
}
