//! Several stores on one shelf: that they agree, whatever happens to the shelf and to each other.

mod anew;
mod copies;
mod leases;
mod many;
mod troubles;

use super::super::{Store, StoreSettings};
use super::sync::Batch;
use super::*;
use crate::cluster::News;
use crate::cluster::fake::Fake;
use crate::cluster::record::{FORMAT, Unknown};
use crate::config::Policy;
use crate::counters::Counters;
use crate::flow::{Protocol, Role};
use crate::placement::{PlaceError, PlaceRequest, Placement, Sharing};
use crate::recognize::StreamKey;
use crate::registry::{Admission, Endpoints, Incarnation, Name, SrsRegistration, Transport};
use balancer_common::abi::ServiceKind;
use std::net::SocketAddr;
use tokio::sync::mpsc;

struct Balancer {
    store: Store,
    counters: Arc<Counters>,
    news: mpsc::Receiver<News>,
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn peer(id: &str, n: u8) -> PeerRecord {
    PeerRecord {
        v: FORMAT,
        id: id.into(),
        version: "test".into(),
        started_ms: 1,
        listens: vec![listen_text(Transport::Tcp, SocketAddr::from(([10, 9, 0, n], 1935)))],
        sources: Vec::new(),
        source_ports: (20_000, 20_999),
        draining: false,
        unknown: Unknown::new(),
    }
}

impl Balancer {
    fn new(fake: &Fake, n: u8, sharing: Sharing) -> Self {
        let counters = Arc::new(Counters::default());
        let settings = StoreSettings {
            policy: Policy::LeastLoad,
            sharing,
            origin_ttl: s(30),
            default_origin: None,
            admission: Admission { networks: vec!["10.0.0.0/8".parse().unwrap()], own: vec![] },
        };
        let mut store = Store::new(settings, counters.clone()).unwrap();
        let id = format!("lb{n}");
        let shelf = fake.shelf(&id);
        let news = shelf.news();
        store.share(shelf, peer(&id, n), s(0));
        // The host's, which each reads for itself, may have gone on by a millisecond in between.
        store.change(|state| state.shared.as_mut().unwrap().guess_clock(s(1_800_000_000), s(0)));
        Self { store, counters, news }
    }

    /// Hears all that is to be heard, and writes all that is to be written.
    async fn settle(&mut self, now: Duration) {
        loop {
            let mut quiet = true;
            while let Ok(news) = self.news.try_recv() {
                self.store.hear(&news, now).await;
                quiet = false;
            }
            while self.store.shelf_is_up() == Some(true) && self.store.write_batch(now).await == Batch::More {}
            if quiet {
                return;
            }
        }
    }

    async fn place(&self, stream: &str, role: Role, now: Duration) -> Result<Placement, PlaceError> {
        self.place_from(([198, 51, 100, 7], 40000).into(), stream, role, now).await
    }

    async fn place_from(
        &self,
        client: SocketAddr,
        stream: &str,
        role: Role,
        now: Duration,
    ) -> Result<Placement, PlaceError> {
        let (key, vip) = (&key(stream), [192, 0, 2, 10].into());
        let request = PlaceRequest { key, role, protocol: Protocol::Rtmp, vip, client, exclude: &[] };
        self.store.place(&request, now).await
    }

    async fn publish(&self, stream: &str, now: Duration) -> Placement {
        let placement = self.place(stream, Role::Publish, now).await.unwrap();
        self.store.flow_opened(placement.ticket(Role::Publish, Protocol::Rtmp));
        placement
    }

    fn origin_of(&self, stream: &str) -> Option<Arc<str>> {
        self.store.stream(&key(stream))?.origin
    }
}

fn key(stream: &str) -> Arc<StreamKey> {
    Arc::new(StreamKey::new("", "live", stream).unwrap())
}

fn beat(n: u8, run: &str) -> SrsRegistration {
    let name = |text: &str| Name::parse(text).unwrap();
    let mut endpoints = Endpoints::default();
    endpoints.add(ServiceKind::Rtmp, SocketAddr::from(([10, 0, 0, n], 1935))).unwrap();
    let incarnation = Incarnation { service: name(run), pid: name("1") };
    SrsRegistration {
        device_id: None,
        server: name(&format!("o{n}")),
        incarnation,
        ip: [10, 0, 0, n].into(),
        endpoints,
    }
}

async fn world(fake: &Fake) -> (Balancer, Balancer) {
    copies::sharing(fake, Sharing::default()).await
}

async fn both(a: &mut Balancer, b: &mut Balancer, now: Duration) {
    for _ in 0..4 {
        a.settle(now).await;
        b.settle(now).await;
    }
    let living: Vec<Arc<str>> = vec!["lb1".into(), "lb2".into()];
    a.store.hear_living(&living, now);
    b.store.hear_living(&living, now);
}

#[tokio::test]
async fn an_origin_that_beats_to_one_is_known_to_all() {
    let fake = Fake::new();
    let (a, mut b) = world(&fake).await;
    assert_eq!(b.store.origins(s(1)).len(), 3);
    assert!(b.store.origin("o1", s(1)).unwrap().lease.unwrap() > s(25));

    let index = b.store.origin("o1", s(1)).unwrap().index;
    let before = b.store.origin("o1", s(1)).unwrap().generation;
    a.store.register(&beat(1, "another run"), s(2)).await.unwrap();
    b.settle(s(2)).await;
    let after = b.store.origin("o1", s(2)).unwrap();
    assert_eq!((after.index, after.generation), (index, before + 1), "its flows end on all balancers");
}

#[tokio::test]
async fn beats_to_either_keep_one_origin_alive_in_one_run() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    for n in 1..40 {
        let to = if n % 2 == 0 { &a } else { &b };
        to.store.register(&beat(1, "run"), s(9 * n)).await.unwrap();
        both(&mut a, &mut b, s(9 * n)).await;
        for balancer in [&a, &b] {
            balancer.store.tick(s(9 * n));
            let origin = balancer.store.origin("o1", s(9 * n)).unwrap();
            assert_eq!((origin.generation, origin.status.label()), (1, "healthy"), "beat {n}");
        }
    }
}

#[tokio::test]
async fn two_that_place_one_stream_at_once_never_disagree() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    for round in 0..2000 {
        let stream = format!("s{round}");
        // Neither has heard of the other's. A publisher may move what a viewer has chosen, nobody what a publisher has.
        let roles = [(Role::Publish, Role::Publish), (Role::Play, Role::Play), (Role::Publish, Role::Play)];
        let (role_a, role_b) = roles[round % 3];
        let (x, y) = tokio::join!(a.place(&stream, role_a, s(1)), b.place(&stream, role_b, s(1)));
        let (x, y) = (x.unwrap(), y.unwrap());
        assert_eq!(x.origin_id, y.origin_id, "round {round}");
        assert_eq!((x.generation, y.generation), (1, 1));
    }
    both(&mut a, &mut b, s(1)).await;
    for round in 0..2000 {
        let stream = format!("s{round}");
        assert_eq!(a.origin_of(&stream), b.origin_of(&stream));
    }
}

#[tokio::test]
async fn a_stream_published_through_one_is_found_through_the_other() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    let published = a.publish("x", s(1)).await;
    both(&mut a, &mut b, s(1)).await;
    let view = b.store.stream(&key("x")).unwrap();
    assert!(view.publisher);
    let calls = fake.calls();
    let played = b.place("x", Role::Play, s(2)).await.unwrap();
    assert_eq!((played.origin_id.clone(), played.reason), (published.origin_id.clone(), Reason::PlacedSticky));
    assert_eq!(fake.calls(), calls, "what is known costs no round trip");

    // The publisher leaves; a player stays, and so does the stream.
    b.store.flow_opened(played.ticket(Role::Play, Protocol::Rtmp));
    a.store.flow_closed(published.ticket(Role::Publish, Protocol::Rtmp), s(3));
    for at in 3..100 {
        both(&mut a, &mut b, s(at)).await;
        a.store.register(&beat(1, "run"), s(at)).await.unwrap();
        a.store.register(&beat(2, "run"), s(at)).await.unwrap();
        a.store.register(&beat(3, "run"), s(at)).await.unwrap();
        for balancer in [&a, &b] {
            balancer.store.tick(s(at));
            balancer.store.sweep_records(s(at));
        }
    }
    assert!(!b.store.stream(&key("x")).unwrap().publisher);
    b.store.flow_closed(played.ticket(Role::Play, Protocol::Rtmp), s(100));
    for at in [100, 101, 140, 141, 142] {
        both(&mut a, &mut b, s(at)).await;
        for balancer in [&a, &b] {
            balancer.store.tick(s(at));
            balancer.store.sweep_records(s(at));
        }
    }
    assert!(a.store.stream(&key("x")).is_none() && b.store.stream(&key("x")).is_none());
    assert!(!fake.records().iter().any(|entry| entry.key.kind == Kind::Stream), "nothing is left of it");
}

#[tokio::test]
async fn without_the_shelf_both_place_alike_and_merge_afterwards() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    fake.down(true);
    both(&mut a, &mut b, s(1)).await;
    for n in 0..50 {
        let stream = format!("s{n}");
        let (x, y) = (a.publish(&stream, s(1)).await, b.place(&stream, Role::Play, s(1)).await.unwrap());
        assert_eq!((x.origin_id, x.reason), (y.origin_id, Reason::PlacedAlone));
    }
    fake.down(false);
    both(&mut a, &mut b, s(2)).await;
    for n in 0..50 {
        assert!(b.store.stream(&key(&format!("s{n}"))).unwrap().publisher);
    }
    assert!(b.store.take_changes().resets.is_empty() && a.store.take_changes().resets.is_empty());
}

#[tokio::test]
async fn after_a_parting_the_living_publisher_decides() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    // The second does not know of the third origin, and so places differently than the first for some streams.
    fake.cut("lb2", true);
    both(&mut a, &mut b, s(1)).await;
    b.store.delete_origin("o3", s(1)).await.unwrap();
    let mut differ = 0;
    for n in 0..60 {
        let stream = format!("s{n}");
        let viewer = b.place(&stream, Role::Play, s(1)).await.unwrap();
        b.store.flow_opened(viewer.ticket(Role::Play, Protocol::Rtmp));
        differ += usize::from(a.publish(&stream, s(1)).await.origin_id != viewer.origin_id);
    }
    assert!(differ > 0);
    b.store.take_changes();
    fake.cut("lb2", false);
    // It was an operator's word: the third is gone now for both, but not what is on the other two.
    both(&mut a, &mut b, s(2)).await;
    let kept = (0..60).map(|n| format!("s{n}")).filter(|stream| &*a.origin_of(stream).unwrap_or("-".into()) != "-");
    for stream in kept {
        assert_eq!(a.origin_of(&stream), b.origin_of(&stream), "{stream}");
    }
    assert!(b.counters.get(Reason::ConflictLost) > 0);
    assert!(!b.store.take_changes().resets.is_empty(), "its viewers come back and find the right origin");
}

#[tokio::test]
async fn an_emptied_shelf_is_filled_again_by_those_who_know() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    for n in 0..20 {
        a.publish(&format!("a{n}"), s(1)).await;
        b.publish(&format!("b{n}"), s(1)).await;
    }
    both(&mut a, &mut b, s(1)).await;
    let before: Vec<_> = fake.records().into_iter().map(|entry| entry.key).collect();
    fake.empty();
    both(&mut a, &mut b, s(2)).await;
    let after: Vec<_> = fake.records().into_iter().map(|entry| entry.key).collect();
    assert_eq!(before, after);
    assert!(a.store.take_changes().resets.is_empty() && b.store.take_changes().resets.is_empty());
    assert_eq!(a.store.origin("o1", s(2)).unwrap().generation, 1);
    assert!(a.counters.get(Reason::RecordRepaired) > 0);
}

#[tokio::test]
async fn what_a_dead_balancer_carried_is_said_to_be_carried_no_more() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    a.publish("x", s(1)).await;
    both(&mut a, &mut b, s(1)).await;
    b.store.hear_living(&["lb2".into()], s(8));
    b.settle(s(8)).await;
    assert_eq!(b.counters.get(Reason::PeerLost), 1);
    let view = b.store.stream(&key("x")).unwrap();
    assert!(!view.publisher && view.origin.is_some(), "the encoder comes back to where it was");
    let entry = fake.records().into_iter().find(|entry| entry.key.kind == Kind::Stream).unwrap();
    let record = crate::cluster::record::StreamRecord::read(entry.value.as_deref().unwrap()).unwrap();
    assert!(record.publisher.is_none() && record.carriers.is_empty());
}

#[tokio::test]
async fn a_drain_and_a_deletion_hold_everywhere() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    b.store.drain("o1", Some(s(600)), s(1)).await.unwrap();
    a.store.register(&beat(1, "run"), s(2)).await.unwrap();
    both(&mut a, &mut b, s(2)).await;
    assert!(a.store.origin("o1", s(2)).unwrap().draining && b.store.origin("o1", s(2)).unwrap().draining);
    a.store.undrain("o1", s(3)).await.unwrap();
    both(&mut a, &mut b, s(3)).await;
    assert!(!b.store.origin("o1", s(3)).unwrap().draining);

    fake.cut("lb2", true);
    both(&mut a, &mut b, s(4)).await;
    a.store.delete_origin("o2", s(4)).await.unwrap();
    fake.cut("lb2", false);
    both(&mut a, &mut b, s(5)).await;
    assert!(
        a.store.origin("o2", s(5)).is_none() && b.store.origin("o2", s(5)).is_none(),
        "who was away brings it not back"
    );
    a.store.register(&beat(2, "run"), s(6)).await.unwrap();
    both(&mut a, &mut b, s(6)).await;
    assert!(b.store.origin("o2", s(6)).is_some(), "but itself does");
}

#[tokio::test]
async fn what_must_not_be_is_ignored_and_counted() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    a.publish("x", s(1)).await;
    both(&mut a, &mut b, s(1)).await;
    let origin = |id: &str, endpoint: &str| {
        format!(
            r#"{{"v":1,"id":"{id}","epoch":9,"source":"api","endpoints":{{"rtmp":["{endpoint}"]}},"weight":100,
                "role":"origin","lease_ms":null,"until_ms":null}}"#
        )
    };
    let forged = [
        (Kind::Origin, "evil", origin("evil", "8.8.8.8:1935")),
        (Kind::Origin, "loop", origin("loop", "10.9.0.2:1935")),
        (Kind::Origin, "other", origin("name", "10.0.0.7:1935")),
        (Kind::Origin, "port", origin("port", "10.0.0.7:0")),
        (Kind::Origin, "json", "{\"v\":1".into()),
        (Kind::Origin, "role", origin("role", "10.0.0.7:1935").replace("\"role\":\"origin\"", "\"role\":\"king\"")),
        (Kind::Stream, "no-key", "{\"v\":1}".into()),
        (Kind::Stream, "__defaultVhost__/live/x", "null".into()),
        (Kind::Peer, "lb9", "[]".into()),
    ];
    for (n, (kind, name, text)) in forged.iter().enumerate() {
        fake.scribble(&Key::new(*kind, *name), Some(text));
        a.settle(s(2)).await;
        assert_eq!(a.counters.get(Reason::RecordForeign), n as u64 + 1, "{name}");
    }
    fake.scribble(&Key::new(Kind::Origin, "newer"), Some("{\"v\":2}"));
    a.settle(s(2)).await;
    assert_eq!(a.counters.get(Reason::RecordFormat), 1);
    assert_eq!(a.store.origins(s(2)).len(), 3);
    assert!(a.store.stream(&key("x")).unwrap().publisher && a.store.take_changes().resets.is_empty());
    let refused = a.store.register(&beat_at([10, 9, 0, 2]), s(3)).await.unwrap_err().to_string();
    assert!(refused.contains("another balancer"), "{refused}");
}

fn beat_at(ip: [u8; 4]) -> SrsRegistration {
    let mut endpoints = Endpoints::default();
    endpoints.add(ServiceKind::Rtmp, SocketAddr::from((ip, 1935))).unwrap();
    SrsRegistration { ip: ip.into(), endpoints, ..beat(9, "run") }
}

#[tokio::test]
async fn others_loads_count_where_the_least_loaded_is_chosen() {
    let fake = Fake::new();
    let (mut a, mut b) = world(&fake).await;
    let busy = a.publish("x", s(1)).await;
    both(&mut a, &mut b, s(1)).await;
    for _ in 0..400 {
        a.store.flow_opened(busy.ticket(Role::Play, Protocol::Rtmp));
    }
    let loads = a.store.loads_text().unwrap();
    b.store.hear(&News::Told(loads.as_str().into()), s(2)).await;
    for n in 0..8 {
        assert_ne!(b.place(&format!("n{n}"), Role::Publish, s(2)).await.unwrap().origin_id, busy.origin_id);
    }
}
