//! Every second, each session: flows that are over, ports to grant again, names and sessions whose time has come.

use super::session::{End, FLOWS_MAX, Member, Session, UNANSWERED_MAX, UNCONFIRMED_MAX};
use super::sessions::Sessions;
use super::table::Table;
use balancer_common::abi::Reason;
use std::time::Duration;

/// How often deadlines in the kernel are renewed and its ports are counted, in sweeps.
const LOOK_EVERY: u64 = 5;
/// After its answer a session stays with who has signalled it, for a client that comes here too.
const MOVED_ON_AFTER: Duration = Duration::from_secs(5);

impl Sessions {
    /// Once a second, and by one task: at most one port a sweep is what a session is granted again.
    pub fn sweep(&self, number: u64) {
        self.sweep_at(number, self.now());
    }

    pub(super) fn sweep_at(&self, number: u64, now: Duration) {
        let ids = self.table().ids();
        for id in ids {
            // One lock for each: the slow path waits for it.
            let mut table = self.table();
            let Some(session) = table.get_mut(id) else { continue };
            self.forget_flows(session, now);
            session.renew(now);
            let is_silent = session.expires_at <= now;
            if is_silent || self.is_waited_for_in_vain(&table, id, now) {
                if let Some(session) = table.remove(id) {
                    self.finish(&mut table, id, session, if is_silent { End::Silent } else { End::MovedOn });
                }
                continue;
            }
            let Some(session) = table.get_mut(id) else { continue };
            if number % LOOK_EVERY == u64::from(id) % LOOK_EVERY {
                self.look_for_ports(id, session);
                self.write_names(id, session);
            }
            if let Some(slot) = session.empty_slot() {
                self.fill(id, session, slot);
            }
            for ufrag in session.forget_old_names(now) {
                self.withdraw(&ufrag);
                table.forget_name(&ufrag, id);
            }
        }
    }

    /// Nothing has come here of a session that another balancer has as well.
    fn is_waited_for_in_vain(&self, table: &Table, id: u32, now: Duration) -> bool {
        let Some(session) = table.get(id).filter(|s| !s.is_confirmed && s.flows.is_empty()) else { return false };
        let age = UNCONFIRMED_MAX.saturating_sub(session.expires_at.saturating_sub(now));
        age >= MOVED_ON_AFTER && self.has_moved_on(table, session)
    }

    /// Flows that are over, and those that the origin does not answer: it checks what we cannot. When there are too many, the
    /// one that it has answered least makes room; errors are answers, too.
    fn forget_flows(&self, session: &mut Session, now: Duration) {
        let mut old = Vec::new();
        let is_new_here = session.taken_at.is_some_and(|at| now.saturating_sub(at) < UNANSWERED_MAX);
        session.flows.retain(|flow| {
            let Some(pulse) = self.parts.live.pulse(flow.id) else { return false };
            if !is_new_here && now.saturating_sub(pulse.made_at) >= UNANSWERED_MAX {
                old.push((pulse.answers, *flow));
            }
            true
        });
        let least = old.iter().map(|(answers, _)| *answers).min().filter(|_| session.flows.len() >= FLOWS_MAX);
        let room = old.iter().find(|(answers, _)| Some(*answers) == least).map(|(_, flow)| flow.id);
        let goes = |answers: u64, flow: &Member| answers == 0 || Some(flow.id) == room;
        for (_, flow) in old.into_iter().filter(|(answers, flow)| goes(*answers, flow)) {
            self.parts.counters.count(Reason::LimitRtcUnanswered);
            session.flows.retain(|other| other.id != flow.id);
            self.parts.live.end_all([(flow.id, flow.key)].into_iter(), "unanswered");
        }
        if session.flows.is_empty() {
            self.count_as_flow(session, true);
        }
    }
}
