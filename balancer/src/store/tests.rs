//! Tests of the store: what a change wakes, and what the reconciler is told.

use super::*;
use crate::flow::{Protocol, Role};
use crate::registry::{Endpoints, Incarnation};
use balancer_common::abi::{OriginState, Reason};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn store() -> (Store, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let settings = StoreSettings {
        policy: Policy::LeastLoad,
        sharing: Default::default(),
        origin_ttl: s(30),
        default_origin: None,
        admission: Admission { networks: vec!["10.0.0.0/8".parse().unwrap()], own: vec![] },
    };
    (Store::new(settings, counters.clone()).unwrap(), counters)
}

fn beat(n: u8, run: &str) -> SrsRegistration {
    let name = |text: &str| Name::parse(text).unwrap();
    let mut endpoints = Endpoints::default();
    endpoints.add(ServiceKind::Rtmp, SocketAddr::from(([10, 0, 0, n], 1935))).unwrap();
    endpoints.add(ServiceKind::Api, SocketAddr::from(([10, 0, 0, n], 1985))).unwrap();
    let incarnation = Incarnation { service: name(run), pid: name("1") };
    SrsRegistration {
        device_id: None,
        server: name(&format!("s{n}")),
        incarnation,
        ip: [10, 0, 0, n].into(),
        endpoints,
    }
}

fn key(stream: &str) -> Arc<StreamKey> {
    Arc::new(StreamKey::new("", "live", stream).unwrap())
}

async fn publish(store: &Store, stream: &str, now: Duration) -> Placement {
    let k = key(stream);
    let vip = [192, 0, 2, 10].into();
    let request = PlaceRequest {
        key: &k,
        role: Role::Publish,
        protocol: Protocol::Rtmp,
        vip,
        client: ([198, 51, 100, 7], 40000).into(),
        exclude: &[],
    };
    let placement = store.place(&request, now).await.unwrap();
    store.flow_opened(placement.ticket(Role::Publish, Protocol::Rtmp));
    placement
}

#[tokio::test]
async fn the_reconciler_wakes_for_what_concerns_the_maps_and_for_nothing_else() {
    let (store, _) = store();
    let mut changed = store.subscribe();
    store.register(&beat(1, "a"), s(0)).await.unwrap();
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    let origins = store.take_changes().origins.unwrap();
    assert_eq!((origins.len(), origins[0].state), (1, OriginState::Up));

    store.register(&beat(1, "a"), s(9)).await.unwrap();
    store.tick(s(10));
    assert!(!changed.has_changed().unwrap(), "a beat changes no map");

    let placement = publish(&store, "a", s(10)).await;
    assert!(changed.has_changed().unwrap());
    let changes = store.take_changes();
    assert_eq!((changes.origins, changes.streams.len(), changes.resets.len()), (None, 1, 0));
    assert_eq!(changes.streams[0].placed_on, Some((placement.origin, placement.generation)));
    changed.mark_unchanged();
    store.connect_succeeded(&placement);
    store.set_loads(&Loads::default());
    assert!(!changed.has_changed().unwrap());
}

#[tokio::test]
async fn a_restart_frees_the_streams_in_the_same_step() {
    let (store, counters) = store();
    store.register(&beat(1, "a"), s(0)).await.unwrap();
    let first = publish(&store, "a", s(0)).await;
    store.take_changes();
    store.register(&beat(1, "b"), s(1)).await.unwrap();
    let changes = store.take_changes();
    let origin = &changes.origins.unwrap()[0];
    assert_eq!((origin.state, origin.generation), (OriginState::Up, u32::from(first.generation) + 1));
    assert_eq!(changes.streams[0].placed_on, None);
    assert_eq!(store.stream(&key("a")).unwrap().origin, None);
    let again = publish(&store, "a", s(1)).await;
    assert_eq!((again.stream, again.generation), (first.stream, first.generation + 1));
    store.flow_closed(first.ticket(Role::Publish, Protocol::Rtmp), s(1));
    assert!(store.stream(&key("a")).unwrap().publisher);
    assert_eq!(counters.get(Reason::PlacedLeastLoad), 2);
}

#[tokio::test]
async fn every_failed_placement_is_counted() {
    let (store, counters) = store();
    let k = key("a");
    let vip = [192, 0, 2, 10].into();
    let request = PlaceRequest {
        key: &k,
        role: Role::Play,
        protocol: Protocol::Rtmp,
        vip,
        client: ([198, 51, 100, 7], 40000).into(),
        exclude: &[],
    };
    assert_eq!(store.place(&request, s(0)).await, Err(PlaceError::NoOrigin));
    assert_eq!((counters.get(Reason::NoOrigin), store.stream_count()), (1, 0));
}

#[tokio::test]
async fn other_listeners_of_an_origin_are_known_while_the_placement_holds() {
    let (store, _) = store();
    store.register(&beat(1, "a"), s(0)).await.unwrap();
    let placement = publish(&store, "a", s(0)).await;
    assert_eq!(store.endpoint(&placement, ServiceKind::Api), Some(SocketAddr::from(([10, 0, 0, 1], 1985))));
    assert_eq!(store.endpoint(&placement, ServiceKind::Rtsp), None);
    store.register(&beat(1, "b"), s(1)).await.unwrap();
    assert_eq!(store.endpoint(&placement, ServiceKind::Api), None);
}

#[tokio::test]
async fn what_an_earlier_process_left_goes_on_where_it_was() {
    let (store, _) = store();
    assert!(store.adopt_origin(4, "s1", 9, s(0)));
    assert!(store.adopt_stream(2, &key("a"), (4, 9), s(0)));
    assert!(!store.adopt_stream(3, &key("b"), (4, 8), s(0)), "of a generation that is over");
    assert!(!store.adopt_stream(3, &key("b"), (5, 1), s(0)), "of an origin that is not there");
    let role = Role::Publish;
    let ticket = FlowTicket { stream: 2, origin: 4, generation: 9, role, protocol: Protocol::Rtmp };
    store.flow_opened(ticket);
    store.take_changes();
    store.register(&beat(1, "a"), s(5)).await.unwrap();
    assert!(store.take_changes().origins.is_none(), "nothing is reset and nothing rewritten");
    let placed = publish(&store, "a", s(6)).await;
    assert_eq!((placed.origin, placed.generation, placed.stream), (4, 9, 2));
    assert_eq!(store.origin("s1", s(6)).unwrap().flows, 2);
}
