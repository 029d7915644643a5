//! Retrieval of many values with few exchanges.

use super::error::Error;
use super::text::Text;
use super::{Client, NO_NAME, non_empty, without_line_breaks};
use crate::protocol::encode;
#[cfg(feature = "tool")]
use crate::protocol::pattern;
use crate::protocol::reply::{Reply, said_of};
use std::time::Instant;

/// Names in one exchange. Their answers are received while the questions are being sent, so the number only limits the
/// memory of the questions.
const NAMES: usize = 1000;

impl Client {
    /// Returns the cached values of names, in the order of the names; `None` for each that has none. A thousand names
    /// are retrieved with one exchange, which is repeated if the connection is lost.
    ///
    /// # Errors
    /// Nothing is sent if a name is empty or contains a line break.
    pub fn retrieve_all<N: AsRef<[u8]>>(
        &mut self,
        names: &[N],
    ) -> Result<Vec<Option<Text>>, Error> {
        for name in names {
            non_empty(without_line_breaks(name.as_ref())?, NO_NAME)?;
        }
        let until = self.end_of_call();
        let mut values = Vec::with_capacity(names.len());
        for some in names.chunks(NAMES) {
            values.append(&mut self.retrieve_some(some, until)?);
        }
        Ok(values)
    }

    fn retrieve_some<N: AsRef<[u8]>>(
        &mut self,
        names: &[N],
        until: Instant,
    ) -> Result<Vec<Option<Text>>, Error> {
        let mut lines = Vec::new();
        for name in names {
            encode::line(&mut lines, &[b"RETRIEVE ", name.as_ref()]);
        }
        let mut values: Vec<Option<Text>> = Vec::new();
        loop {
            values.clear();
            let exchanged = self.exchange(&lines, until, |reply| {
                // These were answers to an earlier call, which has timed out.
                if values.len() == names.len() {
                    values.clear();
                }
                let name = names.get(values.len())?.as_ref();
                match reply {
                    Reply::Retrieved(answer) => values.push(Some(said_of(answer, name)?.into())),
                    Reply::NotRetrieved(missing) if *missing == name => values.push(None),
                    _ => return None,
                }
                (values.len() == names.len()).then_some(())
            });
            match exchanged {
                Ok((refusals, ())) => {
                    self.queue_refusals(refusals);
                    return Ok(values);
                }
                Err(Error::Disconnected(_)) if Instant::now() < until => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the names in the cache that match one of the patterns, sorted bytewise.
    #[cfg(feature = "tool")]
    pub(crate) fn keys_matching(&mut self, patterns: &[Vec<u8>]) -> Result<Vec<Text>, Error> {
        let mut keys = self.keys()?;
        keys.retain(|name| patterns.iter().any(|one| pattern::matches(one, name)));
        keys.sort_unstable();
        Ok(keys)
    }
}
