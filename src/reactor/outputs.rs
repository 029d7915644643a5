//! The two seams of the broker in one value: connections, and whatever keeps its records.

use crate::broker::{
    Audience, Carrier, CloseReason, ConnectionId, HostFigures, LabelledAudience, Record, Recording,
    Rewrite, Traffic,
};
use crate::limits::WORK_PER_BYTE_RECORDED;
use crate::protocol::Run;
use crate::protocol::shared::{Lines, SharedBytes};

/// Passes each call on to the side that it is for. Records count as work of the connections' turn.
pub struct Outputs<C, R> {
    pub connections: C,
    pub journal: R,
}

impl<C: Carrier, R: Recording> Recording for Outputs<C, R> {
    fn record(&mut self, record: &Record<'_>) {
        let before = self.journal.unsaved();
        self.journal.record(record);
        let recorded = self.journal.unsaved() - before;
        self.connections.add_work(WORK_PER_BYTE_RECORDED * recorded);
    }

    fn rewrite(&mut self, step: &Rewrite<'_>) {
        self.journal.rewrite(step);
    }

    fn unsaved(&self) -> usize {
        self.journal.unsaved()
    }
}

/// Passes methods of [`Carrier`] on to the connections.
macro_rules! pass_on {
    ($(fn $name:ident(&mut self $(, $argument:ident: $type:ty)*) $(-> $result:ty)?;)*) => {
        $(
            #[inline(always)]
            fn $name(&mut self $(, $argument: $type)*) $(-> $result)? {
                self.connections.$name($($argument),*)
            }
        )*
    };
}

impl<C: Carrier, R> Carrier for Outputs<C, R> {
    pass_on! {
        fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>));
        fn append_lines(&mut self, to: ConnectionId, lines: &Lines);
        fn append_line(&mut self, to: ConnectionId, parts: &[&[u8]], source: Option<&SharedBytes>);
        fn append_if_drained(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>));
        fn send_in_plain(&mut self, to: ConnectionId, bytes: &[u8]);
        fn retry_write(&mut self, id: ConnectionId);
        fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]);
        fn deliver(&mut self, audience: &Audience<'_>, line: &[&[u8]]) -> usize;
        fn deliver_run(&mut self, audience: &Audience<'_>, run: &Run<'_>) -> usize;
        fn deliver_message(&mut self, audience: &Audience<'_>, payload: &[u8]);
        fn deliver_labelled(&mut self, audience: &LabelledAudience<'_>, before: &[u8], after: &[u8]);
        fn expect_deliveries(&mut self);
        fn close(&mut self, id: ConnectionId, reason: CloseReason);
        fn set_user(&mut self, id: ConnectionId, user: &str, program: &[u8]);
        fn set_link(&mut self, id: ConnectionId);
        fn resume(&mut self, id: ConnectionId);
        fn charge_memory(&mut self, id: ConnectionId, bytes: isize);
        fn request_writable(&mut self, id: ConnectionId);
        fn wait_for(
            &mut self,
            sender: ConnectionId,
            receiver: ConnectionId,
            kept: usize,
            is_short: bool
        ) -> bool;
        fn begin_slice(&mut self) -> bool;
        fn dial(&mut self, master: usize);
        fn cancel_dial(&mut self);
        fn add_work(&mut self, work: usize);
    }

    fn has_full_receivers(&self) -> bool {
        self.connections.has_full_receivers()
    }

    fn traffic(&self, id: ConnectionId) -> Traffic {
        self.connections.traffic(id)
    }

    fn host_figures(&self) -> HostFigures {
        self.connections.host_figures()
    }
}
