//! The state of the screen: the newest figures, the list that is shown, its order and its place. No I/O.

use super::keys::Key;
use super::largest::Largest;
use super::rates::{Figures, Interval, Item};
use crate::client::Fields;
use crate::tool::columns::{amount, field};
use std::cmp::Ordering;
use std::time::{Duration, Instant};

/// The lists, in the order of their tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    Clients,
    Links,
    Names,
    Slow,
}

impl List {
    pub const ALL: [List; 4] = [List::Clients, List::Links, List::Names, List::Slow];

    /// The list's word in STATUS and in its tab.
    pub fn word(self) -> &'static str {
        match self {
            List::Clients => "clients",
            List::Links => "links",
            List::Names => "names",
            List::Slow => "slow",
        }
    }

    /// The list that many tabs further on.
    fn after(self, tabs: usize) -> List {
        List::ALL[(self as usize + tabs) % List::ALL.len()]
    }
}

/// The orders of the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Idle,
    Queued,
    Subscriptions,
    Age,
    User,
}

impl Order {
    /// The orders with their keys, in the order in which they are shown.
    pub const ALL: [(char, &'static str, Order); 5] = [
        ('i', "idle", Order::Idle),
        ('b', "bytes queued", Order::Queued),
        ('s', "subscriptions", Order::Subscriptions),
        ('a', "age", Order::Age),
        ('u', "user", Order::User),
    ];

    /// Compares two clients: the larger number comes first, and users come in alphabetical order.
    fn compare(self, one: &Fields, other: &Fields) -> Ordering {
        let by = |name: &str| {
            let number = |row| amount(row, name).unwrap_or(0.0);
            number(other).total_cmp(&number(one))
        };
        let ordering = match self {
            Order::Idle => by("IDLE"),
            Order::Queued => by("OUTBUFFER_LENGTH"),
            Order::Subscriptions => by("SUBSCRIPTIONS"),
            Order::Age => by("AGE"),
            Order::User => field(one, "USER").cmp(&field(other, "USER")),
        };
        ordering.then_with(|| field(one, "CID").cmp(&field(other, "CID")))
    }
}

/// The consequence of a key for the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Nothing,
    Show(List),
    Suspend,
    Redraw,
    Quit,
}

pub struct View {
    pub address: String,
    /// The time between two samples.
    interval: Duration,
    before: Option<Figures>,
    now: Figures,
    /// When the newest figures arrived.
    sampled: Instant,
    /// The reason for which there is no connection.
    lost: Option<String>,
    pub list: List,
    rows: Vec<Fields>,
    pub largest: Largest,
    pub order: Order,
    pub is_reversed: bool,
    /// The rows above the first one that is shown.
    offset: usize,
    /// The rows that fit the screen.
    height: usize,
}

impl View {
    pub fn new(address: &str, interval: Duration, figures: Figures, now: Instant) -> View {
        View {
            address: address.to_owned(),
            interval,
            before: None,
            now: figures,
            sampled: now,
            lost: None,
            list: List::Clients,
            rows: Vec::new(),
            largest: Largest::default(),
            order: Order::Queued,
            is_reversed: false,
            offset: 0,
            height: 1,
        }
    }

    /// Takes new figures. Rates are then those of the time since the last ones.
    pub fn take_figures(&mut self, figures: Figures, now: Instant) {
        self.lost = None;
        self.sampled = now;
        self.before = Some(std::mem::replace(&mut self.now, figures));
    }

    /// Takes the rows of a list. Those of a list that is not shown any more are dropped.
    pub fn take_rows(&mut self, list: List, rows: Vec<Fields>) {
        if list != self.list {
            return;
        }
        self.rows = rows;
        match list {
            List::Clients => self.sort(),
            List::Names => {
                let (large, busy) = std::mem::take(&mut self.rows)
                    .into_iter()
                    .partition(|row| field(row, "KIND") == "large");
                self.rows = busy;
                self.largest.add(large);
            }
            List::Links | List::Slow => {}
        }
    }

    /// Shows that the connection is lost, until figures arrive again.
    pub fn lose(&mut self, why: String) {
        self.lost = Some(why);
    }

    fn sort(&mut self) {
        let (order, is_reversed) = (self.order, self.is_reversed);
        self.rows.sort_by(|one, other| match is_reversed {
            true => order.compare(other, one),
            false => order.compare(one, other),
        });
    }

    /// Handles a key.
    pub fn handle(&mut self, key: Key) -> Action {
        match key {
            Key::Letter('q') | Key::Escape | Key::Interrupt => return Action::Quit,
            Key::Suspend => return Action::Suspend,
            Key::Redraw => return Action::Redraw,
            Key::Next => return self.show(self.list.after(1)),
            Key::Previous => return self.show(self.list.after(List::ALL.len() - 1)),
            Key::Letter(digit @ '1'..='4') => {
                return self.show(List::ALL[digit as usize - '1' as usize]);
            }
            Key::Letter('r') => {
                self.is_reversed = !self.is_reversed;
                self.order_clients();
            }
            Key::Letter(letter) => {
                let order = Order::ALL.iter().find(|(key, ..)| *key == letter);
                if let Some((_, _, order)) = order {
                    (self.order, self.is_reversed) = (*order, false);
                    self.order_clients();
                }
            }
            Key::Up => self.offset = self.offset.saturating_sub(1),
            Key::Down => self.offset += 1,
            Key::PageUp => self.offset = self.offset.saturating_sub(self.height),
            Key::PageDown => self.offset += self.height,
            Key::Home => self.offset = 0,
            Key::End => self.offset = usize::MAX,
        }
        self.fit(self.height);
        Action::Nothing
    }

    fn order_clients(&mut self) {
        if self.list == List::Clients {
            self.sort();
            self.offset = 0;
        }
    }

    fn show(&mut self, list: List) -> Action {
        if list == self.list {
            return Action::Nothing;
        }
        self.list = list;
        self.rows.clear();
        self.largest = Largest::default();
        self.offset = 0;
        Action::Show(list)
    }

    /// Sets the number of rows that fit the screen, and keeps the last row at its end at most.
    pub fn fit(&mut self, height: usize) {
        self.height = height.max(1);
        let rows = self.rows.len().max(self.largest.rows().len());
        self.offset = self.offset.min(rows.saturating_sub(self.height));
    }

    /// The rows from the place that is shown, of the list or of a part of it.
    pub fn visible<'a>(&self, rows: &'a [Fields]) -> &'a [Fields] {
        let start = self.offset.min(rows.len());
        let end = start.saturating_add(self.height).min(rows.len());
        &rows[start..end]
    }

    pub fn rows(&self) -> &[Fields] {
        &self.rows
    }

    pub fn headline(&self) -> Vec<Vec<Item>> {
        Interval::new(self.before.as_ref(), &self.now).lines()
    }

    pub fn figures(&self) -> &Figures {
        &self.now
    }

    /// The trouble that there is: with the connection, or else with the server; empty if there is none.
    pub fn trouble(&self, now: Instant) -> String {
        let silence = now.saturating_duration_since(self.sampled);
        if let Some(why) = &self.lost {
            return format!("dialling again: {why}");
        }
        if silence > self.interval + Duration::from_secs(2) {
            return format!("no answer for {} s", silence.as_secs());
        }
        self.now.faults().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::columns::row;

    fn view() -> View {
        let interval = Duration::from_secs(1);
        View::new("unix:/x", interval, Figures::default(), Instant::now())
    }

    fn cids(view: &View) -> String {
        let rows = view.visible(view.rows()).iter();
        rows.map(|row| field(row, "CID").into_owned()).collect()
    }

    fn clients() -> Vec<Fields> {
        let client = |cid, user, idle, queued, subscriptions, age| {
            row(&[
                ("CID", cid),
                ("USER", user),
                ("IDLE", idle),
                ("OUTBUFFER_LENGTH", queued),
                ("SUBSCRIPTIONS", subscriptions),
                ("AGE", age),
            ])
        };
        vec![
            client("a", "eve", "1.5", "0", "10", "50.0"),
            client("b", "ann", "10.5", "2000", "9", "60.0"),
            client("c", "bob", "9.5", "300", "9", "7.0"),
        ]
    }

    #[test]
    fn clients_are_sorted_by_the_key_that_was_pressed() {
        let mut view = view();
        view.fit(10);
        view.take_rows(List::Clients, clients());
        assert_eq!(cids(&view), "bca");
        for (letter, order) in [
            ('i', "bca"),
            ('s', "abc"),
            ('a', "bac"),
            ('u', "bca"),
            ('b', "bca"),
        ] {
            assert_eq!(view.handle(Key::Letter(letter)), Action::Nothing);
            assert_eq!(cids(&view), order, "{letter}");
        }
        view.handle(Key::Letter('r'));
        assert_eq!(cids(&view), "acb");
        // The order stays for the next rows.
        view.take_rows(List::Clients, clients());
        assert_eq!(cids(&view), "acb");
        view.handle(Key::Letter('u'));
        assert_eq!((cids(&view).as_str(), view.is_reversed), ("bca", false));
    }

    #[test]
    fn lists_scroll_and_never_beyond_their_end() {
        let mut view = view();
        view.fit(2);
        let rows = "abcde".chars().map(|cid| row(&[("CID", &cid.to_string())]));
        let rows: Vec<Fields> = rows.collect();
        view.take_rows(List::Clients, rows.clone());
        for (key, shown) in [
            (Key::Up, "ab"),
            (Key::Down, "bc"),
            (Key::PageDown, "de"),
            (Key::Down, "de"),
            (Key::PageUp, "bc"),
            (Key::End, "de"),
            (Key::Home, "ab"),
            (Key::End, "de"),
        ] {
            view.handle(key);
            assert_eq!(cids(&view), shown, "{key:?}");
        }
        // Clients leave, and the screen grows.
        view.take_rows(List::Clients, rows[..3].to_vec());
        view.fit(2);
        assert_eq!(cids(&view), "bc");
        view.fit(10);
        assert_eq!(cids(&view), "abc");
    }

    #[test]
    fn keys_choose_the_list_and_late_rows_of_another_one_are_dropped() {
        let mut view = view();
        assert_eq!(view.handle(Key::Previous), Action::Show(List::Slow));
        assert_eq!(view.handle(Key::Next), Action::Show(List::Clients));
        assert_eq!(view.handle(Key::Letter('1')), Action::Nothing);
        assert_eq!(view.handle(Key::Letter('3')), Action::Show(List::Names));
        view.take_rows(List::Clients, clients());
        assert!(view.rows().is_empty());
        let names = ["busy", "large", "busy"].map(|kind| row(&[("KIND", kind), ("NAME", "a")]));
        view.take_rows(List::Names, names.to_vec());
        assert_eq!((view.rows().len(), view.largest.rows().len()), (2, 1));
        for key in [Key::Letter('q'), Key::Escape, Key::Interrupt] {
            assert_eq!(view.handle(key), Action::Quit);
        }
        assert_eq!(view.handle(Key::Letter('x')), Action::Nothing);
    }

    #[test]
    fn trouble_of_the_connection_comes_before_that_of_the_server() {
        let mut view = view();
        let ill = [("uplink_up".to_owned(), "0".into())];
        let now = Instant::now();
        assert_eq!(view.trouble(now), "");
        view.take_figures(Figures::new(&ill), now);
        assert_eq!(view.trouble(now), "no uplink");
        let later = now + Duration::from_secs(10);
        assert_eq!(view.trouble(later), "no answer for 10 s");
        view.lose("gone".to_owned());
        assert_eq!(view.trouble(later), "dialling again: gone");
        view.take_figures(Figures::default(), later);
        assert_eq!(view.trouble(later), "");
    }
}
