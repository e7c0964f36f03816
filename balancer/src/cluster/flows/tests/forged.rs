//! Records that somebody else has written: each way of being wrong is refused, counted, and reaches no map.

use super::super::Taken;
use super::{EPOCH, Lb, records};
use crate::cluster::FlowAt;
use crate::cluster::fake::Fake;
use crate::cluster::record::{FlowRecord, Record};
use balancer_common::abi::Reason;

type Spoil = fn(&mut FlowRecord);

/// A good record of balancer `a`'s.
async fn good(fake: &Fake) -> FlowRecord {
    let a = Lb::new(fake, "a").await;
    a.carry(1);
    a.write_all().await;
    FlowRecord::read(&records(fake, "a").await[0]).unwrap()
}

async fn take(text: &str) -> (Lb, Taken) {
    let fake = Fake::new();
    let b = Lb::new(&fake, "b").await;
    let record = FlowAt { client: "6/c".into(), origin: "6/o".into(), value: Some(text.into()) };
    fake.shelf("z").put_flows("z", &[record]).await.unwrap();
    let taken = b.flows.take(&"z".into()).await.unwrap();
    (b, taken)
}

async fn refused(what: &str, reason: Reason, text: &str) {
    let (b, taken) = take(text).await;
    assert_eq!(taken, Taken { refused: 1, ..Taken::default() }, "{what}");
    assert_eq!(b.count(reason), 1, "{what}");
    assert_eq!((b.live.len(), b.kernel.halves.lock().unwrap().len()), (0, 0), "{what}");
}

#[tokio::test]
async fn each_way_of_being_wrong_is_refused() {
    let good = good(&Fake::new()).await;
    assert_eq!(take(&good.text()).await.1.own, 1);
    let spoiled = |spoil: Spoil| {
        let mut record = good.clone();
        spoil(&mut record);
        record.text()
    };
    let cases: [(&str, Reason, Spoil); 9] = [
        ("an origin outside", Reason::RecordForeign, |r| r.origin_address = "203.0.113.5:1935".parse().unwrap()),
        ("a VIP of others", Reason::RecordForeign, |r| r.vip = "192.0.2.99:1935".parse().unwrap()),
        ("a port that is no service", Reason::RecordForeign, |r| r.vip = "192.0.2.10:22".parse().unwrap()),
        ("a source of others", Reason::RecordForeign, |r| r.source = "10.0.0.99:20000".parse().unwrap()),
        ("no stream", Reason::RecordForeign, |r| r.stream = "nonsense".into()),
        ("flags", Reason::RecordForeign, |r| r.to_origin[0] |= 1 << 7),
        ("another version", Reason::RecordFormat, |r| r.v = 2),
        ("an unknown origin", Reason::FlowNotTaken, |r| r.origin = "o9".into()),
        ("an earlier run of the origin", Reason::FlowNotTaken, |r| r.epoch = EPOCH - 1),
    ];
    for (what, reason, spoil) in cases {
        refused(what, reason, &spoiled(spoil)).await;
    }
    refused("no record", Reason::RecordForeign, "[1,2,3]").await;
    refused("too long", Reason::RecordForeign, &"x".repeat(20_000)).await;
}

#[tokio::test]
async fn a_flow_in_the_way_of_ours_is_not_taken() {
    let text = good(&Fake::new()).await.text();
    let fake = Fake::new();
    let b = Lb::new(&fake, "b").await;
    let record = FlowAt { client: "6/c".into(), origin: "6/o".into(), value: Some(text.as_str().into()) };
    fake.shelf("z").put_flows("z", &[record]).await.unwrap();
    let ours = b.ports.claim("10.0.0.10:20001".parse().unwrap(), "10.1.0.5:1935".parse().unwrap()).unwrap();
    assert_eq!(b.flows.take(&"z".into()).await.unwrap().refused, 1);
    drop(ours);
    assert_eq!(b.flows.take(&"z".into()).await.unwrap().own, 1);
}

#[tokio::test]
async fn a_flow_to_which_no_way_leads_is_not_taken_yet() {
    let text = good(&Fake::new()).await.text();
    let fake = Fake::new();
    let b = Lb::new(&fake, "b").await;
    let record = FlowAt { client: "6/c".into(), origin: "6/o".into(), value: Some(text.as_str().into()) };
    fake.shelf("z").put_flows("z", &[record]).await.unwrap();
    b.kernel.silent.lock().unwrap().insert("10.1.0.5".parse().unwrap());
    assert_eq!(b.flows.take(&"z".into()).await.unwrap().refused, 1);
    b.kernel.silent.lock().unwrap().clear();
    assert_eq!(b.flows.take(&"z".into()).await.unwrap().own, 1);
}
