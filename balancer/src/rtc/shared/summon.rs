//! Sessions of other balancers that come here: a client names one, or a flow of one was taken over.

use super::super::sessions::Sessions;
use crate::cluster::flows::key_text;
use crate::flow::FlowRecord;
use crate::rtc::Member;
use balancer_common::abi::{FlowKey, Reason};
use std::sync::Arc;
use tracing::debug;

/// Clients about which the store is asked at once. Others ask again.
pub const QUESTIONS_MAX: usize = 1024;

/// What a request that names another balancer's session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The session is here now: the request may make a flow.
    Here,
    /// Of a flow that is another balancer's, or of nothing.
    NotHere,
}

impl Sessions {
    /// A client's request names a session of other balancers'. It begins a flow here, unless there is one of it elsewhere:
    /// then its packets have only taken another way.
    pub async fn summon(&self, names: [&str; 2], client: FlowKey) -> Asked {
        let Some(share) = self.parts.store.share_of() else { return Asked::NotHere };
        if !self.ask_about(client) {
            return Asked::NotHere;
        }
        let owners: Vec<Arc<str>> = self.parts.store.peers().into_iter().map(|(id, _)| id).collect();
        let found = share.shelf.find_flows(&owners, &[key_text(client)]).await;
        self.questions().remove(&client);
        match found {
            Ok(found) if found.iter().any(Option::is_some) => {
                self.parts.live.stray(client);
                return Asked::NotHere;
            }
            Ok(_) => {}
            Err(error) => debug!(%error, "nobody says whose a client of WebRTC is"),
        }
        let mut table = self.table();
        let name = names.iter().find_map(|name| table.elsewhere.named(name)).cloned();
        if let Some(name) = name {
            self.take_session(&mut table, &name);
        }
        if names.iter().any(|name| table.named(name).is_some()) { Asked::Here } else { Asked::NotHere }
    }

    /// `false`: not now.
    fn ask_about(&self, client: FlowKey) -> bool {
        let mut questions = self.questions();
        if questions.len() >= QUESTIONS_MAX {
            self.parts.counters.count(Reason::LimitQuestionsOfFlows);
            return false;
        }
        questions.insert(client)
    }

    /// A flow of another balancer's is ours now, of the session that was known there by this number. It has a session again,
    /// if anybody knows that one.
    pub fn taken(&self, number: u32, client: FlowKey) {
        let Some((flow, record)) = self.parts.live.flow_of(client) else { return };
        let mut table = self.table();
        let is_its = |media, stream: &str| media == record.origin_address && *stream == *record.stream.to_string();
        let here = table.get(number).is_some_and(|session| is_its(session.media, &session.key.to_string()));
        let id = if here { Some(number) } else { self.take_numbered(&mut table, number, &record) };
        let Some((id, session)) = id.and_then(|id| Some((id, table.get_mut(id)?))) else {
            debug!(stream = record.stream_index, "a flow of WebRTC was taken whose session nobody knows");
            return;
        };
        if session.flows.iter().any(|member| member.id == flow) {
            return;
        }
        session.taken_at = Some(self.now());
        self.join(id, session, Member { id: flow, key: client });
        if session.way.is_none() {
            self.look_for_way(id);
        }
    }

    fn take_numbered(&self, table: &mut super::Table, number: u32, flow: &FlowRecord) -> Option<u32> {
        let name = table.elsewhere.numbered(number)?.clone();
        let record = table.elsewhere.record(&name)?;
        let is_its = record.media == flow.origin_address && record.stream == flow.stream.to_string();
        if is_its { self.take_session(table, &name) } else { None }
    }
}
