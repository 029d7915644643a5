//! The cache alone, in the shape that users of memcached know.

use super::encoding;
#[cfg(feature = "yaml")]
use super::structure;
use super::{Client, Error, Options, Text, end_of};

/// A cache that all clients of the server share: the counterpart of Net::Clacks::ClacksCache.
///
/// It connects when it is first used, and anew when the connection was lost. Calls return when the server
/// has worked them off, or with an error when [`Options::call_timeout`] is over, whatever they have to do.
/// What a line of the protocol can't hold is encoded on the way, so that values come back as they were,
/// whatever bytes they are; Perl programs that use ClacksCache read them, and the other way round. In
/// names, blanks and `=` become `___`.
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
/// With the crate's feature `yaml` it keeps structures, too:
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

/// How often something is done that may be done twice, before a lost connection is an error.
const TRIES: u32 = 3;

impl Cache {
    /// For a program of that name and version. Nothing is dialled before the first call.
    ///
    /// The program shows up in CLIENTLIST as `NAME/VERSION`, and in the cache as an entry
    /// `VERSION::NAME`, which is stored with each new connection if the user may write. PINGs are
    /// switched off, since nobody knows when a cache is used next.
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

    /// The value of a name; `None` if there is none. Of a structure it is the YAML.
    pub fn get(&mut self, name: impl AsRef<[u8]>) -> Result<Option<Text>, Error> {
        let name = encoding::sanitise(name.as_ref());
        let stored = self.call(|client| client.retrieve(&name))?;
        Ok(stored.map(|stored| encoding::decode(&stored).into_bytes().into()))
    }

    /// Puts a value into the cache. Any bytes will do.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = encoding::sanitise(name.as_ref());
        let stored = encoding::encode(value.as_ref());
        self.call_again(|client| {
            client.store(&name, &stored)?;
            client.sync()
        })
    }

    /// Takes a name out of the cache, if it is there.
    pub fn delete(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = encoding::sanitise(name.as_ref());
        self.call_again(|client| {
            client.remove(&name)?;
            client.sync()
        })
    }

    /// Adds to a number; what is none counts as 0. `step` is written as a number, such as `1` or `0.5`.
    ///
    /// # Errors
    /// After [`Error::Disconnected`] and [`Error::TimedOut`] nobody knows whether it was added.
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

    /// All names that have a value, also those that other programs gave one.
    pub fn keys(&mut self) -> Result<Vec<Text>, Error> {
        self.call(Client::keys)
    }

    /// Removes everything, also what other programs put there. The user needs the permission `manage`.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.call_again(|client| {
            client.clear()?;
            client.sync()
        })
    }

    /// The structure of that name; `None` if there is none. A value that is no structure is a text.
    ///
    /// Perl knows no types: every scalar is a text, and becomes what `T` wants there. `5` is a
    /// [`String`] or a number, `1` is `true`, and `0` and the empty text are `false`. What is null becomes
    /// `None`, and nothing else. Where `T` leaves it open, as `serde_json::Value` does, it is a text.
    ///
    /// # Errors
    /// [`Error::Structure`] if it is no `T`.
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

    /// Puts a structure into the cache, as YAML that YAML::Syck reads. `true` is written as 1 and `false`
    /// as 0, since every other text but the empty one is true in Perl.
    ///
    /// # Errors
    /// [`Error::Structure`] if it can't be written: a map's keys must be texts or numbers, and nothing
    /// may be nested more than 128 deep.
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

    /// The connection below, for signals and whatever else a [`Client`] can do. Names and values are not
    /// encoded there. Its messages wait until they are fetched, up to [`Options::max_queued`]: who fetches none can
    /// set that to 0.
    pub fn client(&mut self) -> Result<&mut Client, Error> {
        self.call(|_| Ok(()))?;
        Ok(self.client.as_mut().expect("a call needs one"))
    }

    /// Connects if need be, and says who this is on every new connection, all within the time of one call.
    fn call<T>(&mut self, act: impl FnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
        let until = end_of(self.options.call_timeout);
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::new(self.options.clone())?),
        };
        let (announcement, announced) = (&self.announcement, &mut self.announced);
        client.within(until, |client| {
            // If that fails, so does what comes next.
            let _ = announcement.make(client, announced);
            let result = act(client)?;
            // What was asked for is done, and the next call tries this again.
            let _ = announcement.make(client, announced);
            Ok(result)
        })
    }

    /// The same for what may be done twice.
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

/// The entry that says which version of a program uses the cache.
struct Announcement {
    name: Vec<u8>,
    version: Vec<u8>,
}

impl Announcement {
    /// Stores it, unless `announced` is the present connection already.
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
