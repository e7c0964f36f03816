//! A session as a record, and whether a record that somebody has written may become a session here.
//!
//! Nothing of it is believed that this balancer could not have been told by the origin itself: an origin that is known
//! here and in that run, media where origins may be, names that a client can repeat.

use super::super::session::Session;
use super::super::sessions::Sessions;
use super::super::table::{Table, check};
use super::super::{NewSession, RtcError};
use super::directory::Said;
use crate::cluster::record::{FORMAT, Record, RecordError, SessionRecord, Unknown};
use crate::flow::Role;
use crate::placement::Placement;
use crate::recognize::StreamKey;
use balancer_common::abi::{OriginState, Reason, ServiceKind};
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::warn;

const PUBLISH: &str = "publish";
const PLAY: &str = "play";
/// More balancers than work together.
const CARRIERS_MAX: usize = 64;

impl Sessions {
    /// What a record says. Counted, if nobody of ours would say it.
    pub(super) fn read(&self, name: &str, text: &str) -> Said {
        let (said, reason, why) = match SessionRecord::read(text) {
            Ok(record) => match self.judge(name, &record) {
                Ok(()) => return Said::Session(Arc::new(record)),
                Err(why) => (Said::Nonsense, Reason::RecordForeign, why),
            },
            Err(RecordError::Format(_)) => (Said::Newer, Reason::RecordFormat, "another version has written it"),
            Err(_) => (Said::Nonsense, Reason::RecordForeign, "it is not what we write"),
        };
        self.parts.counters.count(reason);
        warn!(reason = reason.label(), why, "a session's record in the store is ignored");
        said
    }

    pub(super) fn judge(&self, name: &str, record: &SessionRecord) -> Result<(), &'static str> {
        check(&record.ufrags).map_err(|_| "it has no name that a client could say")?;
        if record.resource.as_ref().unwrap_or(&record.ufrags[0]) != name {
            return Err("it lies under another name");
        }
        // Else a DELETE that one origin agrees to would end another one's.
        if record.resource.as_ref().is_some_and(|r| r.strip_prefix(&*record.origin).is_none_or(|r| !r.starts_with(' ')))
        {
            return Err("its resource is another origin's");
        }
        if record.number == 0 || record.carriers.len() > CARRIERS_MAX {
            return Err("its number or its balancers cannot be");
        }
        if record.stream.parse::<StreamKey>().is_err() || role(record).is_none() {
            return Err("it names no stream, or no role");
        }
        if !self.parts.store.admits_media(&record.origin, record.media) {
            return Err("no origin may have its media there");
        }
        Ok(())
    }

    /// What the others are to know of a session of ours; `None`: nothing, because its origin is ours alone.
    pub(super) fn record_of(&self, id: u32, session: &Session) -> Option<SessionRecord> {
        let p = &session.placement;
        Some(SessionRecord {
            v: FORMAT,
            number: id,
            ufrags: session.ufrags(),
            stream: session.key.to_string(),
            role: if session.role == Role::Publish { PUBLISH } else { PLAY }.into(),
            origin: p.origin_id.to_string(),
            epoch: self.parts.store.epoch((p.origin, p.generation))?,
            media: session.media,
            resource: session.resource.clone(),
            carriers: Vec::new(),
            over: false,
            unknown: Unknown::new(),
        })
    }

    /// Whether a record is of this very session.
    pub(super) fn is_of(&self, record: &SessionRecord, session: &Session) -> bool {
        let p = &session.placement;
        *record.origin == *p.origin_id
            && self.parts.store.epoch((p.origin, p.generation)) == Some(record.epoch)
            && record.stream == session.key.to_string()
            && role(record) == Some(session.role)
    }

    /// A session that another balancer has signalled is this one's, too, from now on. User space makes its flows until
    /// [`Sessions::enter_late`]. `None`: it is over, or may not be.
    pub(in super::super) fn take_session(&self, table: &mut Table, name: &Arc<str>) -> Option<u32> {
        if let Some(id) = table.shared(name) {
            return Some(id);
        }
        let record = table.elsewhere.record(name).filter(|record| !record.over)?.clone();
        if table.elsewhere.is_ended(name) {
            return None;
        }
        let new = self.new_session(&record)?;
        match table.take(record.number, new, self.now()) {
            Ok(id) => {
                self.parts.counters.count(Reason::SessionTaken);
                table.share(id, name.clone());
                if let Some(session) = table.get_mut(id) {
                    session.is_news = false;
                    self.count_as_flow(session, true);
                }
                self.touch(table, name);
                Some(id)
            }
            Err(error) => {
                if matches!(error, RtcError::Full(_)) {
                    self.parts.counters.count(Reason::LimitRtcSessions);
                }
                None
            }
        }
    }

    fn new_session(&self, record: &SessionRecord) -> Option<NewSession> {
        let store = &self.parts.store;
        let (origin, generation) = store.current_origin(&record.origin, record.epoch)?;
        let is_up = |o: &crate::registry::DesiredOrigin| {
            o.index == origin && o.generation as u16 == generation && o.state == OriginState::Up
        };
        if !store.desired_origins().iter().any(is_up) {
            return None;
        }
        // Networks and listeners may have become known after the record.
        if !store.admits_media(&record.origin, record.media) {
            self.parts.counters.count(Reason::RecordForeign);
            return None;
        }
        let (key, role): (Arc<StreamKey>, _) = (Arc::new(record.stream.parse().ok()?), role(record)?);
        let stream = store.carry_stream(&key, (origin, generation), role == Role::Publish, self.now())?;
        let placement = Placement {
            origin,
            generation,
            origin_id: record.origin.as_str().into(),
            endpoint: record.media,
            service: ServiceKind::WebRtc,
            proxy_protocol: None,
            stream,
            reason: Reason::PlacedElsewhere,
            placed_at: self.now(),
        };
        let (ufrags, resource) = (record.ufrags.clone(), record.resource.clone());
        Some(NewSession { ufrags, key, role, placement, media: record.media, client: None, resource })
    }

    /// Whether a new session may not have its names, because another origin's has them.
    pub(in super::super) fn is_taken_elsewhere(&self, table: &Table, new: &NewSession) -> bool {
        let others = new.ufrags.iter().filter_map(|ufrag| table.elsewhere.named(ufrag));
        let mut records = others.filter_map(|name| table.elsewhere.record(name));
        records.any(|record| {
            let is_same = *record.origin == *new.placement.origin_id;
            !is_same && self.parts.store.current_origin(&record.origin, record.epoch).is_some()
        })
    }

    /// An origin that gives a name again has no other session of that name.
    pub(in super::super) fn end_replaced(&self, table: &mut Table, new: &[String], origin: &str, media: SocketAddr) {
        for ufrag in new {
            let Some(name) = table.elsewhere.named(ufrag).cloned() else { continue };
            let is_its = |record: &Arc<SessionRecord>| *record.origin == *origin && record.media == media;
            if table.shared(&name).is_none() && table.elsewhere.record(&name).is_some_and(is_its) {
                table.elsewhere.end(&name);
            }
        }
    }
}

fn role(record: &SessionRecord) -> Option<Role> {
    match record.role.as_str() {
        PUBLISH => Some(Role::Publish),
        PLAY => Some(Role::Play),
        _ => None,
    }
}
