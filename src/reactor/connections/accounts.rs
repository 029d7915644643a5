//! Whose memory the buffers are: when all together take too much, the connections of whoever holds most go first.
//!
//! What a connection takes counts for its user, and before the login for its origin, so that nobody escapes by using
//! many connections. A link between servers carries the lines of many and counts for itself.

use super::Connections;
use crate::broker::{ConnectionId, Origin};
use crate::limits::LINK_IMPATIENCE_US;
use crate::reactor::buffer::SharedPayload;
use crate::reactor::connection::Connection;
use crate::reactor::socket::Socket;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::rc::{Rc, Weak};

/// Who is charged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    User(String),
    Origin(Origin),
}

/// The memory of one holder, as far as the connections themselves don't say it.
#[derive(Default)]
pub struct Account {
    /// Bytes of payloads that its connections share, each payload once.
    shared: Cell<usize>,
    /// Its share of the payload that was appended last: a payload is appended to all its receivers in a row.
    last: RefCell<Weak<Share>>,
    /// Of how many of its shares a buffer of a long line or value is: the buffer counts once, whatever parts of it wait.
    long: RefCell<BTreeMap<usize, usize>>,
    /// Until then (monotonic) no link waits for its connections: one of them was too slow for one.
    links_wait_from_us: Cell<u64>,
}

impl Account {
    /// A link has waited in vain for one of its connections.
    pub(super) fn handle_link_slowed(&self, now_us: u64) {
        self.links_wait_from_us.set(now_us + LINK_IMPATIENCE_US);
    }

    pub(super) fn may_slow_links(&self, now_us: u64) -> bool {
        now_us >= self.links_wait_from_us.get()
    }

    fn charge(&self, payload: &SharedPayload) {
        let bytes = match payload.long() {
            None => payload.len(),
            Some(part) => {
                let mut long = self.long.borrow_mut();
                let shares = long.entry(part.buffer_id()).or_default();
                *shares += 1;
                if *shares > 1 {
                    return;
                }
                part.buffer_size()
            }
        };
        self.shared.set(self.shared.get() + bytes);
    }

    fn release(&self, payload: &SharedPayload) {
        let bytes = match payload.long() {
            None => payload.len(),
            Some(part) => {
                let mut long = self.long.borrow_mut();
                if let Some(shares) = long.get_mut(&part.buffer_id())
                    && *shares > 1
                {
                    *shares -= 1;
                    return;
                }
                long.remove(&part.buffer_id());
                part.buffer_size()
            }
        };
        self.shared.set(self.shared.get() - bytes);
    }
}

/// A payload that some connections of an account are still to be sent.
pub struct Share {
    pub payload: Rc<SharedPayload>,
    account: Rc<Account>,
}

impl Share {
    /// The one share that the account has of the payload.
    pub fn of(account: &Rc<Account>, payload: &Rc<SharedPayload>) -> Rc<Share> {
        let last = account.last.borrow().upgrade();
        if let Some(last) = last.filter(|last| Rc::ptr_eq(&last.payload, payload)) {
            return last;
        }
        account.charge(payload);
        let share = Rc::new(Share {
            payload: payload.clone(),
            account: account.clone(),
        });
        account.last.replace(Rc::downgrade(&share));
        share
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.release(&self.payload);
    }
}

/// The accounts of users and origins that have connections.
#[derive(Default)]
pub struct Accounts(HashMap<Holder, Weak<Account>>);

impl Accounts {
    fn of(&mut self, holder: Holder) -> Rc<Account> {
        if let Some(account) = self.0.get(&holder).and_then(Weak::upgrade) {
            return account;
        }
        // Those whose connections are all gone.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|_, account| account.strong_count() > 0);
        }
        let account = Rc::default();
        self.0.insert(holder, Rc::downgrade(&account));
        account
    }

    /// Of a connection that has not logged in; `None` is for those that count for themselves.
    pub fn of_origin(&mut self, origin: Option<Origin>) -> Rc<Account> {
        origin.map_or_else(Rc::default, |origin| self.of(Holder::Origin(origin)))
    }

    pub fn of_user(&mut self, name: &str) -> Rc<Account> {
        self.of(Holder::User(name.to_owned()))
    }
}

/// The connections of one account.
#[derive(Default)]
struct Holding {
    bytes: usize,
    /// With what each holds; the largest comes last once they are sorted.
    connections: Vec<(usize, ConnectionId)>,
}

impl<S: Socket> Connections<S> {
    /// The connections that must go for all together to keep their limit: one by one the largest of the account that
    /// then holds most.
    pub fn largest_beyond_limit(&self) -> Vec<ConnectionId> {
        let mut excess = self.buffered().saturating_sub(self.limits.max_buffers);
        if excess == 0 {
            return Vec::new();
        }
        // What is over its own limit goes already, and so does who is only read until its peer has closed.
        let is_going = |c: &Connection<S>| c.over_limit || c.is_departing;
        let going = self.slab.iter().filter(|(_, c)| is_going(c));
        excess = excess.saturating_sub(going.map(|(_, c)| c.held()).sum());
        if excess == 0 {
            return Vec::new();
        }
        let mut holdings: HashMap<*const Account, Holding> = HashMap::new();
        for (_, connection) in self.slab.iter().filter(|(_, c)| !is_going(c)) {
            let holding = holdings.entry(Rc::as_ptr(&connection.account));
            let holding = holding.or_insert_with(|| Holding {
                bytes: connection.account.shared.get(),
                connections: Vec::new(),
            });
            holding.bytes += connection.own_memory();
            let held = connection.held();
            holding.connections.push((held, connection.id));
        }
        take_largest(holdings.into_values(), excess)
    }
}

fn take_largest(holdings: impl Iterator<Item = Holding>, mut excess: usize) -> Vec<ConnectionId> {
    let mut holdings: Vec<Holding> = holdings.collect();
    let mut by_bytes: BinaryHeap<(usize, usize)> = holdings
        .iter_mut()
        .enumerate()
        .map(|(index, holding)| {
            holding.connections.sort_unstable();
            (holding.bytes, index)
        })
        .collect();
    let mut taken = Vec::new();
    while excess > 0
        && let Some((bytes, index)) = by_bytes.pop()
    {
        let Some((held, id)) = holdings[index].connections.pop() else {
            continue;
        };
        if held > 0 {
            taken.push(id);
            excess = excess.saturating_sub(held);
            by_bytes.push((bytes.saturating_sub(held), index));
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::shared::SharedBytes;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId {
            slot,
            generation: 1,
        }
    }

    fn holding(connections: &[(usize, u32)]) -> Holding {
        Holding {
            bytes: connections.iter().map(|(held, _)| held).sum(),
            connections: connections.iter().map(|&(held, n)| (held, id(n))).collect(),
        }
    }

    #[test]
    fn the_largest_connection_of_the_largest_holder_goes_until_it_is_not_the_largest() {
        let holdings = || {
            [
                holding(&[(90, 1)]),
                holding(&[(40, 2), (50, 3), (30, 4)]),
                holding(&[(0, 5)]),
            ]
            .into_iter()
        };
        let taken = |excess| take_largest(holdings(), excess);
        assert_eq!(taken(1), [id(3)]);
        assert_eq!(taken(50), [id(3)]);
        assert_eq!(taken(51), [id(3), id(1)]);
        assert_eq!(taken(141), [id(3), id(1), id(2)]);
        // Who holds nothing stays whatever is missing.
        assert_eq!(taken(1_000), [id(3), id(1), id(2), id(4)]);
    }

    #[test]
    fn an_account_is_charged_once_for_a_payload_that_many_of_its_connections_share() {
        let gauge = Rc::default();
        let mut accounts = Accounts::default();
        let [first, second] = ["first", "second"].map(|name| accounts.of_user(name));
        assert!(Rc::ptr_eq(&first, &accounts.of_user("first")));
        let [one, other] = [10, 100].map(|size| SharedPayload::new(&vec![b'x'; size], &gauge));
        let mut shares: Vec<Rc<Share>> = Vec::new();
        for payload in [&one, &other] {
            for account in [&first, &second, &first] {
                shares.push(Share::of(account, payload));
            }
        }
        assert_eq!((first.shared.get(), second.shared.get()), (110, 110));
        drop(shares.drain(..3));
        assert_eq!((first.shared.get(), second.shared.get()), (100, 100));
        shares.clear();
        assert_eq!((first.shared.get(), second.shared.get()), (0, 0));
    }
    #[test]
    fn an_account_is_charged_once_for_a_long_buffer_whatever_parts_of_it_wait() {
        let gauge = Rc::default();
        let [first, second] = [Rc::default(), Rc::default()];
        let [one, other] = [1000, 50].map(|size| SharedBytes::new(vec![b'x'; size], None));
        let mut shares: Vec<Rc<Share>> = Vec::new();
        // In turns, so that no payload is the one that came last.
        for _ in 0..3 {
            for part in [&one, &other, &one.slice(100, 1000)] {
                let payload = SharedPayload::of_long(part, &gauge);
                shares.push(Share::of(&first, &payload));
            }
        }
        shares.push(Share::of(&second, &SharedPayload::of_long(&one, &gauge)));
        let charged = || (first.shared.get(), second.shared.get(), gauge.get());
        assert_eq!(charged(), (1050, 1000, 1050));
        shares.drain(..6);
        assert_eq!(charged(), (1050, 1000, 1050));
        shares.drain(..3);
        assert_eq!(charged(), (0, 1000, 1000));
        shares.clear();
        assert_eq!(charged(), (0, 0, 0));
        assert!(first.long.borrow().is_empty() && second.long.borrow().is_empty());
    }
}
