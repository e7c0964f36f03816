//! Sessions without a kernel: names, limits, ends. With one: `tests/ice.rs`.

use super::session::{
    FLOWS_MAX, LINGER, OLD_NAME_MAX, UNANSWERED_MAX, UNCONFIRMED_MAX, UNCONFIRMED_PER_CLIENT_MAX as WAITING_MAX,
};
use super::{Member, NewSession, Refused, RtcError, Sessions};
use crate::config::Policy;
use crate::counters::Counters;
use crate::flow::{Counter, FlowId, FlowRecord, FlowState, Path, Protocol, Role};
use crate::live::{Live, ResetOrder};
use crate::placement::{PlaceRequest, Placement};
use crate::registry::{Admission, Endpoints, Lease, Name, OriginSpec};
use crate::store::{Clock, Store, StoreSettings};
use balancer_common::abi::{FlowKey, PORT_SLOTS, Reason, ServiceKind};
use std::sync::Arc;
use std::time::Duration;

const VIP: &str = "127.0.0.1:8000";
const CLIENT: &str = "127.0.0.9";
const MEDIA: &str = "127.0.0.1:8001";

struct World {
    sessions: Arc<Sessions>,
    store: Arc<Store>,
    live: Arc<Live>,
    counters: Arc<Counters>,
    clock: Clock,
}

impl World {
    async fn new() -> Self {
        let (clock, counters) = (Clock::start(), Arc::new(Counters::default()));
        let settings = StoreSettings {
            policy: Policy::LeastLoad,
            sharing: Default::default(),
            origin_ttl: Duration::from_secs(30),
            default_origin: None,
            admission: Admission { networks: vec!["127.0.0.0/8".parse().unwrap()], own: vec![] },
        };
        let store = Arc::new(Store::new(settings, counters.clone()).unwrap());
        let live = Live::new(store.clone(), None, clock);
        let sessions = Sessions::without_kernel(store.clone(), live.clone(), counters.clone(), clock);
        let world = Self { sessions, store, live, counters, clock };
        world.add_origin("a").await;
        world
    }

    async fn add_origin(&self, id: &str) {
        let mut endpoints = Endpoints::default();
        endpoints.add(ServiceKind::WebRtc, MEDIA.parse().unwrap()).unwrap();
        endpoints.add(ServiceKind::Api, "127.0.0.1:1985".parse().unwrap()).unwrap();
        let spec = OriginSpec { endpoints: Some(endpoints), lease: Some(Lease::Never), ..OriginSpec::default() };
        self.store.put_origin(&Name::parse(id).unwrap(), &spec, self.clock.now()).await.unwrap();
    }

    async fn place(&self, stream: &str) -> Placement {
        let key = Arc::new(format!("__defaultVhost__/live/{stream}").parse().unwrap());
        let vip = "127.0.0.1".parse().unwrap();
        let request = PlaceRequest {
            key: &key,
            role: Role::Publish,
            protocol: Protocol::Webrtc,
            vip,
            client: ([198, 51, 100, 7], 40000).into(),
            exclude: &[],
        };
        self.store.place(&request, self.clock.now()).await.unwrap()
    }

    async fn new_session(&self, stream: &str, ufrags: &[&str], resource: Option<&str>) -> NewSession {
        let placement = self.place(stream).await;
        NewSession {
            ufrags: ufrags.iter().map(ToString::to_string).collect(),
            key: Arc::new(format!("__defaultVhost__/live/{stream}").parse().unwrap()),
            role: Role::Publish,
            media: MEDIA.parse().unwrap(),
            placement,
            client: Some(CLIENT.parse().unwrap()),
            resource: resource.map(str::to_owned),
        }
    }

    async fn register(&self, ufrags: &[&str], resource: &str) {
        let new = self.new_session("cam", ufrags, Some(resource)).await;
        self.sessions.register(new).await.unwrap();
    }

    /// The slow path makes a flow of the request that was heard.
    fn connect(&self, names: [&str; 2], client: &str) -> Result<(FlowId, Arc<ResetOrder>), Refused> {
        let admitted = self.sessions.admit(names)?;
        let (client, vip) = (client.parse().unwrap(), VIP.parse().unwrap());
        let now = self.clock.now();
        let record = FlowRecord {
            client,
            announced: None,
            vip,
            origin: admitted.placement.origin,
            origin_generation: admitted.placement.generation,
            origin_id: admitted.placement.origin_id.clone(),
            origin_address: admitted.media,
            source: VIP.parse().unwrap(),
            protocol: Protocol::Webrtc,
            role: admitted.role,
            stream: admitted.key.clone(),
            stream_index: admitted.placement.stream,
            path: Path::Relay,
            state: FlowState::Relaying,
            to_origin: Counter::default(),
            to_client: Counter::default(),
            made_at: now,
            active_at: now,
        };
        let reset = Arc::new(ResetOrder::default());
        let id = self.live.open(record, reset.clone());
        self.sessions.opened(admitted.session, Member { id, key: FlowKey::udp(client, vip).unwrap() });
        Ok((id, reset))
    }

    fn answer(&self, id: FlowId) {
        self.live.update(id, |record| record.to_client.packets += 1);
    }

    fn sweep_after(&self, time: Duration) {
        self.sessions.sweep_at(0, self.clock.now() + time);
    }

    fn publishers(&self) -> usize {
        self.store.streams().iter().filter(|stream| stream.publisher).count()
    }
}

#[tokio::test]
async fn either_half_of_a_user_name_finds_the_session_and_its_origin() {
    let world = World::new().await;
    world.register(&["origin-audio", "origin-video"], "/whip/1").await;
    for names in [["origin-audio", "client"], ["client", "origin-video"]] {
        let admitted = world.sessions.admit(names).unwrap();
        assert_eq!((admitted.media.to_string().as_str(), admitted.role), (MEDIA, Role::Publish));
    }
    assert_eq!(world.sessions.admit(["client", "other"]).err(), Some(Refused::Unknown));
}

#[tokio::test]
async fn a_client_gets_a_few_flows_at_once_and_then_one_a_second() {
    let world = World::new().await;
    world.register(&["ufrag"], "/whip/1").await;
    for port in 1..=PORT_SLOTS {
        let (id, _) = world.connect(["ufrag", "c"], &format!("127.0.0.9:{port}")).unwrap();
        world.answer(id);
    }
    assert_eq!(world.connect(["ufrag", "c"], "127.0.0.9:90").err(), Some(Refused::Exhausted));
    for port in 100..100 + FLOWS_MAX - PORT_SLOTS as usize {
        world.sweep_after(Duration::ZERO);
        let (id, _) = world.connect(["ufrag", "c"], &format!("127.0.0.9:{port}")).unwrap();
        world.answer(id);
        assert_eq!(world.connect(["ufrag", "c"], "127.0.0.9:91").err(), Some(Refused::Exhausted));
    }
    world.sweep_after(Duration::ZERO);
    assert_eq!(world.connect(["ufrag", "c"], "127.0.0.9:92").err(), Some(Refused::Exhausted), "it has enough");
    world.sweep_after(UNANSWERED_MAX);
    assert!(world.connect(["ufrag", "c"], "127.0.0.9:93").is_ok(), "the one that is answered least makes room");
    assert_eq!(world.counters.get(Reason::LimitRtcMigrations), FLOWS_MAX as u64);
    assert_eq!(world.counters.get(Reason::LimitRtcAddresses), 2 + FLOWS_MAX as u64 - u64::from(PORT_SLOTS));
}

#[tokio::test]
async fn flows_that_the_origin_does_not_answer_end() {
    let world = World::new().await;
    world.register(&["ufrag"], "/whip/1").await;
    let (real, kept) = world.connect(["ufrag", "c"], "127.0.0.9:1").unwrap();
    world.answer(real);
    let (_, forged) = world.connect(["ufrag", "c"], "127.0.0.66:1").unwrap();
    world.sweep_after(Duration::ZERO);
    assert!(!forged.is_given());
    world.sweep_after(UNANSWERED_MAX);
    assert!(forged.is_given() && !kept.is_given());
    assert_eq!(world.counters.get(Reason::LimitRtcUnanswered), 1);
}

#[tokio::test]
async fn a_session_lives_for_as_long_as_its_flows_and_a_little_longer() {
    let world = World::new().await;
    world.register(&["ufrag"], "/whip/1").await;
    world.sweep_after(UNCONFIRMED_MAX / 2);
    let (id, _) = world.connect(["ufrag", "c"], "127.0.0.9:1").unwrap();
    world.answer(id);
    world.sweep_after(2 * UNCONFIRMED_MAX);
    assert!(world.sessions.knows("ufrag"), "it has a flow");
    world.live.close(id);
    world.sweep_after(2 * UNCONFIRMED_MAX + LINGER / 2);
    assert!(world.sessions.knows("ufrag"), "it may come back");
    world.sweep_after(2 * UNCONFIRMED_MAX + LINGER);
    assert!(!world.sessions.knows("ufrag") && world.sessions.is_empty());

    world.register(&["other"], "/whip/2").await;
    world.sweep_after(UNCONFIRMED_MAX);
    assert!(world.sessions.is_empty(), "nobody came");
}

#[tokio::test]
async fn a_session_holds_its_stream_in_its_place_until_it_has_a_flow() {
    let world = World::new().await;
    world.register(&["ufrag"], "/whip/1").await;
    assert_eq!(world.publishers(), 1);
    let (id, _) = world.connect(["ufrag", "c"], "127.0.0.9:1").unwrap();
    world.live.close(id);
    world.sweep_after(Duration::ZERO);
    assert_eq!(world.publishers(), 1);
    assert!(world.sessions.end("/whip/1"));
    assert_eq!(world.publishers(), 0);
}

#[tokio::test]
async fn the_end_takes_all_flows_with_it() {
    let world = World::new().await;
    world.register(&["ufrag"], "/whip/1").await;
    let resets = [1, 2].map(|port| world.connect(["ufrag", "c"], &format!("127.0.0.9:{port}")).unwrap().1);
    assert!(!world.sessions.end("/whip/2"));
    assert!(world.sessions.end("/whip/1"));
    assert!(resets.iter().all(|reset| reset.is_given()));
    assert!(!world.sessions.end("/whip/1"));
    assert_eq!(world.sessions.admit(["ufrag", "c"]).err(), Some(Refused::Unknown));
}

#[tokio::test]
async fn old_names_stay_for_a_while_after_a_restart_of_ice() {
    let world = World::new().await;
    world.register(&["first"], "/whip/1").await;
    world.sessions.rename("/whip/1", vec!["second".into()], None).await.unwrap();
    let (id, _) = world.connect(["second", "c"], "127.0.0.9:1").unwrap();
    world.answer(id);
    assert!(world.sessions.knows("first") && world.sessions.knows("second"));
    world.sweep_after(OLD_NAME_MAX + Duration::from_secs(1));
    assert!(!world.sessions.knows("first") && world.sessions.knows("second"));
    let moved = "127.0.0.1:8002".parse().unwrap();
    world.sessions.rename("/whip/1", vec!["moved".into()], Some(moved)).await.unwrap();
    assert_eq!(world.sessions.admit(["c", "moved"]).unwrap().media, moved);
    assert!(world.sessions.knows("second"));
    assert_eq!(world.sessions.rename("/whip/9", vec!["third".into()], None).await, Err(RtcError::Unknown));
    assert_eq!(world.sessions.rename("/whip/1", vec!["a:b:c".into()], None).await, Err(RtcError::Ufrag));
}

#[tokio::test]
async fn one_name_is_one_session_of_one_origin() {
    let world = World::new().await;
    world.register(&["ufrag"], "/whip/1").await;
    let (_, reset) = world.connect(["ufrag", "c"], "127.0.0.9:1").unwrap();
    // The origin gives the name again: it has no other session of that name any more.
    world.register(&["ufrag"], "/whip/2").await;
    assert!(reset.is_given());
    assert_eq!(world.sessions.len(), 1);
    assert!(!world.sessions.end("/whip/1"));

    let mut stranger = world.new_session("cam", &["ufrag"], Some("/whip/3")).await;
    stranger.media = "127.0.0.2:8001".parse().unwrap();
    assert_eq!(world.sessions.register(stranger).await, Err(RtcError::Taken));
    for ufrags in [&[][..], &["abc"], &["with:colon"]] {
        let nameless = world.new_session("cam", ufrags, None).await;
        assert_eq!(world.sessions.register(nameless).await, Err(RtcError::Ufrag), "{ufrags:?}");
    }
    let mut late = world.new_session("cam", &["late"], None).await;
    late.placement.generation += 1;
    assert_eq!(world.sessions.register(late).await, Err(RtcError::OriginGone));
}

#[tokio::test]
async fn sessions_go_with_their_origin_or_stream() {
    let world = World::new().await;
    world.register(&["ufrag"], "/whip/1").await;
    let p = world.place("cam").await;
    assert_eq!(world.sessions.end_placed(p.origin, p.generation, Some(p.stream + 1)), 0);
    assert_eq!(world.sessions.end_placed(p.origin, p.generation, Some(p.stream)), 1);
    world.register(&["ufrag"], "/whip/1").await;
    assert_eq!(world.sessions.end_placed(p.origin, p.generation + 1, None), 0);
    assert_eq!(world.sessions.end_placed(p.origin, p.generation, None), 1);
}

#[tokio::test]
async fn who_never_knew_a_session_does_not_end_one_that_is_known_by_its_number_only() {
    let world = World::new().await;
    let adopted = world.new_session("cam", &["ufrag"], None).await;
    world.sessions.register(adopted).await.unwrap();
    // Its number is made of that.
    assert!(!world.sessions.end_known("ufrag"));
    assert!(world.sessions.end("ufrag"));
    world.register(&["other"], "/whip/1").await;
    assert!(world.sessions.end_known("/whip/1"));
}

#[tokio::test]
async fn an_address_that_begins_none_of_its_sessions_gets_no_more() {
    let world = World::new().await;
    for number in 0..WAITING_MAX {
        world.register(&[&format!("name{number}")], &format!("/whip/{number}")).await;
    }
    let more = || async { world.new_session("cam", &["more"], None).await };
    assert_eq!(world.sessions.register(more().await).await, Err(RtcError::Unconfirmed(WAITING_MAX)));
    assert_eq!(world.counters.get(Reason::LimitRtcUnconfirmed), 1);
    let other = NewSession { client: Some("127.0.0.8".parse().unwrap()), ..more().await };
    world.sessions.register(other).await.unwrap();
    world.connect(["name0", "c"], "127.0.0.9:1").unwrap();
    let again = world.new_session("cam", &["again"], None).await;
    world.sessions.register(again).await.unwrap();
}
