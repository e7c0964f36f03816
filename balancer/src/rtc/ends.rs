//! The ends of sessions: by their clients, with their origins and streams, with this balancer.

use super::session::{End, Session};
use super::sessions::Sessions;
use super::table::Table;
use crate::flow::Role;
use crate::registry::Reset;
use tracing::debug;

impl Sessions {
    /// The session is over, and with it all its flows. `false`: nobody knows it.
    pub fn end(&self, resource: &str) -> bool {
        self.end_found(resource, Table::of_resource)
    }

    /// The same, but not for a session that an earlier process knew: its number is a weak name, and whoever says that it is
    /// over does not know it.
    pub fn end_known(&self, resource: &str) -> bool {
        self.end_found(resource, Table::of_known_resource)
    }

    fn end_found(&self, resource: &str, find: impl Fn(&Table, &str) -> Option<u32>) -> bool {
        let mut table = self.table();
        let Some((id, session)) = find(&table, resource).and_then(|id| Some((id, table.remove(id)?))) else {
            let is_elsewhere = table.elsewhere.end(resource);
            self.wake.notify_one();
            return is_elsewhere;
        };
        self.finish(&mut table, id, session, End::Over);
        true
    }

    /// Ends every session that was placed so: the origin is gone, or the stream has left it.
    pub fn end_placed(&self, origin: u16, generation: u16, stream: Option<u32>) -> usize {
        self.end_which(End::Gone("origin or stream gone"), |session| {
            let p = &session.placement;
            (p.origin, p.generation) == (origin, generation) && stream.is_none_or(|stream| stream == p.stream)
        })
    }

    /// Ends those that a reset is for.
    pub fn end_reset(&self, reset: &Reset) -> usize {
        self.end_which(End::Gone("stream left this origin, or has another publisher"), |session| {
            let p = &session.placement;
            let replaced = |before| session.role == Role::Publish && p.placed_at < before;
            (p.stream, p.origin, p.generation) == (reset.stream, reset.origin, reset.generation)
                && reset.publishers_before.is_none_or(replaced)
        })
    }

    /// Ends every session there is.
    pub fn end_everything(&self) -> usize {
        self.end_which(End::Drained, |_| true)
    }

    fn end_which(&self, end: End, which: impl Fn(&Session) -> bool) -> usize {
        let mut table = self.table();
        let ids = table.picked(which);
        for id in &ids {
            if let Some(session) = table.remove(*id) {
                self.finish(&mut table, *id, session, end);
            }
        }
        ids.len()
    }

    /// What a session that is no longer in the table has to give back.
    pub(super) fn finish(&self, table: &mut Table, id: u32, mut session: Session, end: End) {
        self.leave(id, &mut session);
        if let Some(name) = &session.name {
            if end.is_for_all() {
                table.elsewhere.end(name);
            }
            self.touch(table, name);
        }
        let why = end.why();
        self.parts.live.end_all(session.flows.iter().map(|flow| (flow.id, flow.key)), why);
        self.count_as_flow(&mut session, false);
        debug!(stream = session.placement.stream, flows = session.flows.len(), why, "session of WebRTC over");
    }
}
