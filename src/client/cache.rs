//! The cache without signals, with the methods that users of memcached know.

use super::Client;
use super::deadline::deadline_after;
use super::encoding;
use super::error::Error;
use super::options::Options;
#[cfg(feature = "yaml")]
use super::structure;
use super::text::Text;
use super::ttl::Ttl;
use std::time::Duration;

/// A client of the cache that all clients of a server share; the counterpart of Net::Clacks::ClacksCache.
///
/// It connects at its first use, and reconnects when the connection was lost. Calls return when the server has processed
/// them, or with an error after [`Options::call_timeout`]. Values may contain any bytes: those that a line of the
/// protocol can't carry are encoded, in the encoding of Perl's ClacksCache, so that programs of both kinds can share
/// values. In names, blanks and `=` become `___`.
///
/// ```no_run
/// use clacks::{Cache, Options};
///
/// let options = Options::new("unix:/run/clacksd/clacksd.sock")?.login("shop", "its password");
/// let mut cache = Cache::new(options, "shop", env!("CARGO_PKG_VERSION"));
/// cache.set("shop::motd", "two lines\nof text")?;
/// if let Some(text) = cache.get("shop::motd")? {
///     println!("{text}");
/// }
/// cache.incr("shop::visits", 1)?;
/// # Ok::<(), clacks::Error>(())
/// ```
///
/// With the crate's feature `yaml` it stores structures, too:
///
#[cfg_attr(feature = "yaml", doc = "```no_run")]
#[cfg_attr(not(feature = "yaml"), doc = "```ignore")]
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Basket {
///     owner: String,
///     items: Vec<u32>,
/// }
/// # let options = clacks::Options::new("unix:/run/clacksd/clacksd.sock")?;
/// # let mut cache = clacks::Cache::new(options, "shop", "1.0");
/// cache.set_structure("basket::7", &Basket { owner: "Ann".to_owned(), items: vec![3, 5] })?;
/// let basket: Option<Basket> = cache.get_structure("basket::7")?;
/// # Ok::<(), clacks::Error>(())
/// ```
pub struct Cache {
    options: Options,
    announcement: Announcement,
    client: Option<Client>,
    /// The connection on which the version was stored last, as [`Client::connections`] counts.
    announced: u64,
}

/// Attempts at a repeatable call before a lost connection is reported as an error.
const TRIES: u32 = 3;

impl Cache {
    /// Creates a client for a program with that name and version. It connects at the first call.
    ///
    /// The program appears in CLIENTLIST as `NAME/VERSION`, and in the cache as an entry `VERSION::NAME`, which is stored
    /// on each new connection if the user may write. PINGs are switched off, since a cache may be unused for any time.
    pub fn new(options: Options, name: &str, version: &str) -> Cache {
        Cache {
            options: options
                .without_ping()
                .calls_itself(&format!("{name}/{version}")),
            announcement: Announcement {
                name: encoding::sanitise(format!("VERSION::{name}").as_bytes()).into_owned(),
                version: encoding::encode(version.as_bytes()).into_owned(),
            },
            client: None,
            announced: 0,
        }
    }

    /// Returns the value of a name; `None` if there is none. The value of a structure is its YAML.
    pub fn get(&mut self, name: impl AsRef<[u8]>) -> Result<Option<Text>, Error> {
        let name = encoding::sanitise(name.as_ref());
        let stored = self.call(|client| client.retrieve(&name))?;
        Ok(stored.map(|stored| encoding::decode(&stored).into_bytes().into()))
    }

    /// Stores a value of any bytes.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = encoding::sanitise(name.as_ref());
        let stored = encoding::encode(value.as_ref());
        self.call_again(|client| {
            client.store(&name, &stored)?;
            client.sync()
        })
    }

    /// Stores a value of any bytes that expires after that time, as [`Client::store_for`] does.
    pub fn set_for(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        time: Duration,
    ) -> Result<(), Error> {
        let name = encoding::sanitise(name.as_ref());
        let stored = encoding::encode(value.as_ref());
        self.call_again(|client| {
            client.store_for(&name, &stored, time)?;
            client.sync()
        })
    }

    /// Lets an entry expire after that time from now, or never. Nothing happens if there is no such entry.
    pub fn expire(&mut self, name: impl AsRef<[u8]>, time: Option<Duration>) -> Result<(), Error> {
        let name = encoding::sanitise(name.as_ref());
        self.call_again(|client| {
            client.expire(&name, time)?;
            client.sync()
        })
    }

    /// Returns the time until an entry expires; `None` if there is no such entry.
    pub fn ttl(&mut self, name: impl AsRef<[u8]>) -> Result<Option<Ttl>, Error> {
        let name = encoding::sanitise(name.as_ref());
        self.call(|client| client.ttl(&name))
    }

    /// Removes a name, if it is there.
    pub fn delete(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = encoding::sanitise(name.as_ref());
        self.call_again(|client| {
            client.remove(&name)?;
            client.sync()
        })
    }

    /// Adds to a number; a missing value, or one that is not a number, counts as 0. `step` is a decimal number such as `1`
    /// or `0.5`.
    ///
    /// # Errors
    /// After [`Error::Disconnected`] and [`Error::TimedOut`] it is unknown if the step was added.
    pub fn incr(&mut self, name: impl AsRef<[u8]>, step: impl ToString) -> Result<(), Error> {
        let name = encoding::sanitise(name.as_ref());
        self.call(|client| {
            client.increment(&name, step)?;
            client.sync()
        })
    }

    /// Subtracts from a number, as [`incr`](Cache::incr) adds.
    pub fn decr(&mut self, name: impl AsRef<[u8]>, step: impl ToString) -> Result<(), Error> {
        let name = encoding::sanitise(name.as_ref());
        self.call(|client| {
            client.decrement(&name, step)?;
            client.sync()
        })
    }

    /// Returns all names that have a value, including those that other programs have stored.
    pub fn keys(&mut self) -> Result<Vec<Text>, Error> {
        self.call(Client::keys)
    }

    /// Removes all entries, including those of other programs. The user needs the permission `manage`.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.call_again(|client| {
            client.clear()?;
            client.sync()
        })
    }

    /// Returns the structure stored under a name; `None` if there is none. A value that is not a structure counts as one
    /// text.
    ///
    /// Perl has no types: every scalar is a text, and is converted to the type that `T` has in its place. `5` can become
    /// a [`String`] or a number, `1` becomes `true`, and `0` and the empty text become `false`. Null, and nothing else,
    /// becomes `None`. If `T` leaves the type open, as `serde_json::Value` does, a scalar stays a text.
    ///
    /// # Errors
    /// [`Error::Structure`] if the structure can't be converted to `T`.
    #[cfg(feature = "yaml")]
    pub fn get_structure<T: serde::de::DeserializeOwned>(
        &mut self,
        name: impl AsRef<[u8]>,
    ) -> Result<Option<T>, Error> {
        let name = encoding::sanitise(name.as_ref());
        let stored = self.call(|client| client.retrieve(&name))?;
        stored
            .map(|stored| match encoding::decode(&stored) {
                encoding::Decoded::Structure(yaml) => structure::from_yaml(&yaml),
                text => structure::from_text(&text.into_bytes()),
            })
            .transpose()
            .map_err(Error::Structure)
    }

    /// Stores a structure, as YAML that YAML::Syck can read. `true` is written as 1 and `false` as 0, since in Perl every
    /// text but `0` and the empty one is true.
    ///
    /// # Errors
    /// [`Error::Structure`] if the structure has map keys that are neither texts nor numbers, or is nested more than 128
    /// levels deep.
    #[cfg(feature = "yaml")]
    pub fn set_structure<T: serde::Serialize + ?Sized>(
        &mut self,
        name: impl AsRef<[u8]>,
        structure: &T,
    ) -> Result<(), Error> {
        let name = encoding::sanitise(name.as_ref());
        let yaml = structure::to_yaml(structure).map_err(Error::Structure)?;
        let stored = encoding::encode_structure(&yaml);
        self.call_again(|client| {
            client.store(&name, &stored)?;
            client.sync()
        })
    }

    /// Returns the underlying client, connected, for signals and everything else that a [`Client`] can do. It does not
    /// encode names and values. Its messages are queued until they are fetched, up to [`Options::max_queued`]; a program
    /// that fetches none can set that to 0.
    pub fn client(&mut self) -> Result<&mut Client, Error> {
        self.call(|_| Ok(()))?;
        Ok(self.client.as_mut().expect("a call needs one"))
    }

    /// Connects if necessary, announces the program on every new connection, and calls `act`, all within the time limit of
    /// one call.
    fn call<T>(&mut self, act: impl FnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let until = deadline_after(self.options.call_timeout);
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::new(self.options.clone())?),
        };
        let (announcement, announced) = (&self.announcement, &mut self.announced);
        client.within(until, |client| {
            // If this fails, so does `act`.
            let _ = announcement.make(client, announced);
            let result = act(client)?;
            // `act` may have reconnected. A failure does not matter: the next call announces the program again.
            let _ = announcement.make(client, announced);
            Ok(result)
        })
    }

    /// Calls `act` as [`Cache::call`] does, and repeats it after a lost connection. `act` must be repeatable.
    fn call_again<T>(
        &mut self,
        mut act: impl FnMut(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.call(|client| {
            let mut tries = 1;
            loop {
                match act(client) {
                    Err(Error::Disconnected(_)) if tries < TRIES => tries += 1,
                    result => return result,
                }
            }
        })
    }
}

/// The cache entry with the version of the program.
struct Announcement {
    name: Vec<u8>,
    version: Vec<u8>,
}

impl Announcement {
    /// Stores the entry, unless it was stored on the present connection, whose number `announced` then is.
    fn make(&self, client: &mut Client, announced: &mut u64) -> Result<(), Error> {
        if *announced == client.connections() {
            return Ok(());
        }
        client.store(&self.name, &self.version)?;
        match client.sync() {
            // Users who may only read have no version.
            Ok(()) | Err(Error::Refused(_)) => {
                *announced = client.connections();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
