//! Flows come to another balancer: when theirs dies, when its address moves, as guests, and back.

use super::super::journal::Told;
use super::super::{Host, Taken};
use super::{Kernel, Lb, VIP, ip, records, talk};
use crate::cluster::fake::{Fake, Trouble};
use crate::live::{HEARD_FIN_TO_CLIENT, HEARD_FIN_TO_ORIGIN, HEARD_TO_CLIENT, Journal};
use balancer_common::abi::{FlowKey, Reason, Seen};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Both halves of a flow, but for what every host finds for itself.
fn halves(kernel: &Kernel, client: FlowKey) -> Vec<(FlowKey, balancer_common::abi::Splice)> {
    let to_origin = kernel.half(client).unwrap();
    let to_client = kernel.half(to_origin.egress.reversed()).unwrap();
    vec![(to_origin.egress, to_origin.splice), (to_client.egress, to_client.splice)]
}

#[tokio::test]
async fn the_flows_of_a_dead_balancer_are_ours_and_the_very_same() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    let keys: Vec<FlowKey> = (0..250).map(|n| a.carry(n)).collect();
    a.write_all().await;
    b.kernel.elsewhere.lock().unwrap().insert(ip(VIP));
    b.meet(&[&a]).await;
    assert_eq!(b.live.len(), 0, "they are for a host that has the address");
    b.kernel.elsewhere.lock().unwrap().clear();
    b.flows.peer_lost("a").await;
    assert_eq!((b.live.all_carried().len(), b.count(Reason::FlowTaken)), (250, 250));
    assert!(keys.iter().all(|key| halves(&a.kernel, *key) == halves(&b.kernel, *key)));
    assert_eq!((records(&fake, "a").await.len(), records(&fake, "b").await.len()), (0, 250));
    let claimed = b.ports.claim("10.0.0.10:20003".parse().unwrap(), "10.1.0.5:1935".parse().unwrap());
    assert!(claimed.is_none(), "its port is in use");
    // Ours from now on: our ends are written.
    b.live.let_go(keys[0]);
    b.write_all().await;
    assert_eq!(records(&fake, "b").await.len(), 249);
}

#[tokio::test]
async fn while_its_owner_lives_a_flow_is_a_guest_and_its_owner_hears_of_it() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    let key = a.carry(1);
    a.write_all().await;
    b.meet(&[&a]).await;
    assert_eq!((b.count(Reason::FlowGuest), b.live.all_carried().len(), b.live.len()), (1, 0, 1));
    assert!(b.live.is_guest(key));
    b.write_all().await;
    assert_eq!((records(&fake, "a").await.len(), records(&fake, "b").await.len()), (1, 0), "its record is its owner's");
    let stream = "__defaultVhost__/live/a".parse().unwrap();
    assert_eq!(b.store.stream(&stream).unwrap().players, 0, "its owner counts it");
    b.flows.peer_lost("a").await;
    assert!(!b.live.is_guest(key) && b.live.carried(key).is_some());
    assert_eq!((records(&fake, "a").await.len(), records(&fake, "b").await.len()), (0, 1));
    assert_eq!(b.store.stream(&stream).unwrap().players, 1);
}

/// Behind a router that spreads packets, each sees one end.
#[tokio::test]
async fn ends_that_anybody_has_seen_are_known_to_the_heir() {
    let fake = Fake::new();
    let (a, b, c) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await, Lb::new(&fake, "c").await);
    let keys = [a.carry(1), a.carry(2)];
    a.write_all().await;
    b.meet(&[&a, &c]).await;
    c.meet(&[&b]).await;
    let origin = |lb: &Lb, key| lb.kernel.half(key).unwrap().egress.reversed();
    let flow = (keys[0], origin(&a, keys[0]));
    Told(Arc::downgrade(&b.flows)).guest_end(flow.0, flow.1, HEARD_FIN_TO_ORIGIN);
    talk(&b, &c).await;
    assert!(!c.live.carries(keys[0]), "it has not come here yet");
    Told(Arc::downgrade(&c.flows)).guest_end(flow.0, flow.1, HEARD_FIN_TO_CLIENT);
    talk(&c, &b).await;
    assert_eq!(b.live.ends_told(keys[0]), [0, Seen::FIN], "what it has seen itself is in its kernel");
    // Nobody has noticed yet that its owner is dead.
    c.meet(&[&a, &b]).await;
    c.flows.peer_lost("a").await;
    assert_eq!((c.live.ends_told(keys[0]), c.live.ends_told(keys[1])), ([Seen::FIN; 2], [0; 2]));
    assert!(c.live.carried(keys[0]).is_some(), "until nothing is heard of it any more");
}

#[tokio::test]
async fn what_cannot_be_read_is_read_again() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    a.carry_many(150);
    a.write_all().await;
    b.meet(&[&a]).await;
    fake.trouble(Trouble::Slow);
    b.flows.peer_lost("a").await;
    assert_eq!((b.live.all_carried().len(), b.to_take()), (0, vec!["a".into()]));
    // They are taken, but cannot be forgotten under the old name.
    fake.trouble(Trouble::ReadOnly);
    b.flows.take_waiting(Duration::MAX).await;
    assert_eq!((b.live.all_carried().len(), b.to_take()), (150, vec!["a".into()]));
    fake.trouble(Trouble::None);
    b.flows.take_waiting(Duration::MAX).await;
    b.write_all().await;
    assert_eq!((b.live.all_carried().len(), b.to_take(), b.count(Reason::FlowTaken)), (150, vec![], 150));
    assert_eq!((records(&fake, "a").await.len(), records(&fake, "b").await.len()), (0, 150));
}

#[tokio::test]
async fn what_balancers_say_reaches_those_who_are_known_only() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    let key = a.carry(1);
    a.write_all().await;
    b.meet(&[&a]).await;
    let name = super::super::wire::key_text(key);
    let over = format!(r#"{{"about":"flows","from":"a","over":["{name}"]}}"#);
    let stranger = over.replace("\"a\"", "\"z\"");
    assert!(b.flows.told(&stranger));
    assert!(b.live.is_guest(key), "nobody knows z");
    assert!(!b.flows.told(r#"{"about":"else","from":"a"}"#) && !b.flows.told("[]"));
    assert!(b.flows.told(&over));
    assert!(!b.live.carries(key));
    // What guests have heard.
    a.meet(&[&b]).await;
    let bits = HEARD_TO_CLIENT | HEARD_FIN_TO_ORIGIN;
    assert!(a.flows.told(&format!(r#"{{"about":"flows","from":"b","heard":[["{name}",{bits}],["x",1]]}}"#)));
    assert!(a.live.carries(key));
    // Of a flow that others forward too, the end is told.
    a.live.let_go(key);
    assert_eq!(*a.flows.over(), [key]);
}

#[tokio::test]
async fn an_address_that_moved_takes_its_flows_along() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    let key = a.carry(1);
    a.write_all().await;
    b.kernel.elsewhere.lock().unwrap().insert(ip(VIP));
    b.meet(&[&a]).await;
    assert!(!b.live.carries(key));
    // The address has come, and a has not said yet that it has gone there.
    b.kernel.elsewhere.lock().unwrap().clear();
    let came = b.flows.look().unwrap();
    b.flows.arrived(&came).await;
    assert!(b.live.is_guest(key));
    a.kernel.elsewhere.lock().unwrap().insert(ip(VIP));
    assert!(b.flows.told(r#"{"about":"flows","from":"a","holds":[]}"#));
    assert_eq!(b.to_take(), [Arc::<str>::from("a")]);
    b.flows.take(&"a".into()).await.unwrap();
    assert!(b.live.carried(key).is_some(), "a lives, but its address is here");
    a.meet(&[&b]).await;
    talk(&b, &a).await;
    assert!(!a.live.carries(key));
    a.write_all().await;
    assert_eq!((records(&fake, "a").await.len(), records(&fake, "b").await.len()), (0, 1));
}

#[tokio::test]
async fn several_heirs_share_and_nothing_is_left() {
    let fake = Fake::new();
    let (a, b, c) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await, Lb::new(&fake, "c").await);
    let keys: Vec<FlowKey> = (0..120).map(|n| a.carry(n)).collect();
    a.write_all().await;
    for (lb, other) in [(&b, &c), (&c, &b)] {
        lb.meet(&[&a, other]).await;
        lb.flows.told(&format!(r#"{{"about":"flows","from":"{}","holds":["{VIP}"]}}"#, other.id));
    }
    b.flows.peer_lost("a").await;
    c.flows.peer_lost("a").await;
    let (ours, theirs) = (b.live.all_carried(), c.live.all_carried());
    assert!(!ours.is_empty() && !theirs.is_empty());
    assert_eq!(ours.len() + theirs.len(), keys.len());
    assert!(ours.iter().all(|flow| !theirs.contains(flow)));
    assert!(records(&fake, "a").await.is_empty());
}

#[tokio::test]
async fn a_balancer_that_comes_back_without_its_kernel_finds_its_own_flows() {
    let fake = Fake::new();
    let a = Lb::new(&fake, "a").await;
    a.carry_many(3);
    a.write_all().await;
    let again = Lb::new(&fake, "a").await;
    let b = Lb::new(&fake, "b").await;
    again.meet(&[&b]).await;
    // One of them b has taken meanwhile.
    let taken = b.carry(1);
    b.write_all().await;
    again.flows.shelf_up().await;
    again.write_all().await;
    assert_eq!(again.live.all_carried().len(), 2);
    assert!(!again.live.carries(taken));
    assert_eq!(records(&fake, "a").await.len(), 2);
}

#[tokio::test]
async fn what_an_earlier_process_has_left_is_not_swept_away_unread() {
    let fake = Fake::new();
    let a = Lb::new(&fake, "a").await;
    a.carry_many(3);
    a.write_all().await;
    let again = Lb::new(&fake, "a").await;
    fake.down(true);
    again.flows.shelf_up().await;
    fake.down(false);
    again.write_all().await;
    assert_eq!((again.live.len(), records(&fake, "a").await.len()), (0, 3));
    again.flows.shelf_up().await;
    again.write_all().await;
    assert_eq!((again.live.all_carried().len(), records(&fake, "a").await.len()), (3, 3));
}

#[tokio::test]
async fn a_store_that_breaks_off_leaves_nothing_half_done() {
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    a.carry_many(5);
    a.write_all().await;
    b.meet(&[]).await;
    fake.down(true);
    assert!(b.flows.take(&"a".into()).await.is_err());
    fake.down(false);
    fake.trouble(crate::cluster::fake::Trouble::ReadOnly);
    assert_eq!(b.flows.take(&"a".into()).await.unwrap().own, 5, "forwarded, though not written");
    fake.trouble(crate::cluster::fake::Trouble::None);
    b.write_all().await;
    assert_eq!(records(&fake, "b").await.len(), 5);
    assert_eq!(b.flows.take(&"a".into()).await.unwrap(), Taken { left: 5, ..Taken::default() });
}

/// Not a limit, since the machine and the build decide: what one take-over costs without kernel and network.
#[tokio::test]
async fn many_flows_are_taken_at_once() {
    const MANY: usize = 20_000;
    let fake = Fake::new();
    let (a, b) = (Lb::new(&fake, "a").await, Lb::new(&fake, "b").await);
    a.carry_many(MANY);
    a.write_all().await;
    let since = Instant::now();
    let taken = b.flows.take(&"a".into()).await.unwrap();
    println!("{MANY} flows taken in {} ms", since.elapsed().as_millis());
    assert_eq!(taken, Taken { own: MANY, ..Taken::default() });
    assert_eq!((b.live.all_carried().len(), records(&fake, "b").await.len()), (MANY, MANY));
}
