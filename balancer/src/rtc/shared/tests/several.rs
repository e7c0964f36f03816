//! Sessions that are signalled at one balancer, and carried, renamed, taken over and ended at others.

use super::*;
use crate::cluster::FlowAt;
use crate::cluster::fake::Trouble;
use crate::cluster::flows::key_text;
use crate::rtc::session::OLD_NAME_MAX;
use crate::rtc::shared::sweep::LEFT_MAX;

const CLIENT: &str = "198.51.100.7:5000";

#[tokio::test]
async fn the_others_may_know_of_a_session_before_its_client_does() {
    let fake = Fake::new();
    let [a, mut b] = balancers(&fake, ["lb1", "lb2"]).await;
    a.signal("ufrag", RESOURCE).await;
    // Nothing but the answer was waited for.
    let [record] = &records(&fake)[..] else { panic!("one record for one session") };
    assert_eq!((&record.carriers[..], record.media), (&["lb1".to_owned()][..], at(MEDIA)));
    b.settle().await;
    assert!(b.elsewhere("ufrag") && b.sessions.is_empty(), "it costs nothing until its client comes");
}

#[tokio::test]
async fn a_client_that_comes_to_another_balancer_has_its_session_there() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    settle(&mut all).await;
    let reset = all[1].hear("ufrag", CLIENT).await.unwrap();
    assert_eq!(all[1].count(Reason::SessionTaken), 1);
    settle(&mut all).await;
    assert_eq!(records(&fake)[0].carriers, ["lb1", "lb2"]);
    // Who has only signalled it does not wait for long.
    all[0].sweep_after(Duration::from_secs(6));
    all[1].sweep_after(Duration::from_secs(6));
    settle(&mut all).await;
    assert!(all[0].sessions.is_empty() && all[0].elsewhere("ufrag") && all[1].sessions.knows("ufrag"));
    assert_eq!(records(&fake)[0].carriers, ["lb2"]);
    // Its end comes by way of the one that it began with.
    assert!(all[0].sessions.end(RESOURCE));
    settle(&mut all).await;
    assert!(reset.is_given() && all[1].sessions.is_empty() && records(&fake).is_empty());
    assert!(!all[0].sessions.end(RESOURCE));
}

#[tokio::test]
async fn packets_of_a_flow_that_another_balancer_has_begin_no_second_one() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    all[0].hear("ufrag", CLIENT).await.unwrap();
    settle(&mut all).await;
    let key = key_text(FlowKey::udp(at(CLIENT), at(VIP)).unwrap());
    let flow = FlowAt { client: key.clone(), origin: key, value: Some("a flow".into()) };
    fake.shelf("lb1").put_flows("lb1", &[flow]).await.unwrap();
    assert_eq!(all[1].hear("ufrag", CLIENT).await.err(), Some(Refused::Elsewhere));
    assert!(all[1].sessions.is_empty());
    // Nobody waits for a store that says nothing.
    fake.trouble(Trouble::Slow);
    all[1].hear("ufrag", "198.51.100.7:6000").await.unwrap();
}

#[tokio::test]
async fn a_session_is_ended_through_any_balancer() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2", "lb3"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    let first = all[0].hear("ufrag", CLIENT).await.unwrap();
    settle(&mut all).await;
    let second = all[2].hear("ufrag", "198.51.100.7:6000").await.unwrap();
    settle(&mut all).await;
    assert!(all[1].sessions.end_known(RESOURCE) && !all[1].sessions.end("o1 /whip/2"));
    assert!(!all[1].elsewhere("ufrag"), "no flow comes after");
    settle(&mut all).await;
    assert!(first.is_given() && second.is_given());
    assert!(all.iter().all(|lb| lb.sessions.is_empty()) && records(&fake).is_empty());
}

#[tokio::test]
async fn an_end_is_heard_of_by_who_was_away() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    let reset = all[0].hear("ufrag", CLIENT).await.unwrap();
    settle(&mut all).await;
    fake.cut("lb1", true);
    all[1].sessions.end(RESOURCE);
    settle(&mut all).await;
    assert!(!reset.is_given() && records(&fake)[0].over);
    fake.cut("lb1", false);
    settle(&mut all).await;
    assert!(reset.is_given() && records(&fake).is_empty());
}

#[tokio::test]
async fn ice_is_restarted_through_another_balancer() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("first", RESOURCE).await;
    all[0].hear("first", CLIENT).await.unwrap();
    settle(&mut all).await;
    let moved = at("10.1.0.5:8002");
    all[1].sessions.rename(RESOURCE, vec!["second".into()], Some(moved)).await.unwrap();
    settle(&mut all).await;
    for lb in &all {
        assert_eq!(lb.sessions.admit(["second", "c"]).unwrap().media, moved);
    }
    assert!(all[0].sessions.knows("first"));
    all[0].sweep_after(OLD_NAME_MAX + Duration::from_secs(1));
    assert!(!all[0].sessions.knows("first"));
    let record = &records(&fake)[0];
    assert_eq!((&record.ufrags[..], record.media), (&["second".to_owned()][..], moved));
    // Of one that nobody has told of, nothing is said.
    let unknown = all[1].sessions.rename("o1 /whip/2", vec!["third".into()], None).await;
    assert_eq!(unknown, Err(crate::rtc::RtcError::Unknown));
}

#[tokio::test]
async fn a_flow_that_was_taken_over_has_its_session_again() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    all[0].hear("ufrag", CLIENT).await.unwrap();
    settle(&mut all).await;
    let number = records(&fake)[0].number;
    fake.cut("lb1", true);
    all[1].hear_living(&[]);
    all[1].take(number, CLIENT).await;
    all[1].take(number, CLIENT.replace("5000", "5001").as_str()).await;
    settle(&mut all[1..]).await;
    assert_eq!(records(&fake)[0].carriers, ["lb2"], "its balancer is dead");
    // What the origin has answered there is not known here.
    all[1].sweep_after(Duration::ZERO);
    assert!(all[1].carries(CLIENT));
    // Another address of its client's, as ever.
    let third = all[1].hear("ufrag", "198.51.100.7:6000").await.unwrap();
    assert!(all[1].sessions.end(RESOURCE));
    assert!(!all[1].carries(CLIENT) && third.is_given());
    settle(&mut all[1..]).await;
    assert!(records(&fake).is_empty());
    // A flow of nothing that anybody knows.
    all[1].take(number, "198.51.100.8:5000").await;
    assert!(all[1].sessions.is_empty() && all[1].carries("198.51.100.8:5000"));
}

#[tokio::test]
async fn no_record_outlives_its_session() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("waits", RESOURCE).await;
    all[0].signal("silent", "o1 /whip/2").await;
    all[0].hear("silent", CLIENT).await.unwrap();
    settle(&mut all).await;
    let calls = fake.calls();
    all[0].sweep_after(UNCONFIRMED_MAX / 2);
    settle(&mut all).await;
    assert_eq!(fake.calls(), calls, "nothing has to be renewed");
    all[0].sweep_after(UNCONFIRMED_MAX);
    settle(&mut all).await;
    assert_eq!(records(&fake).len(), 1, "nobody has come");
    all[0].sessions.end_everything();
    settle(&mut all).await;
    assert!(records(&fake).is_empty() && !all[1].elsewhere("silent"));
}

#[tokio::test]
async fn what_the_dead_have_left_is_removed_by_one_of_the_living() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2", "lb3"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    settle(&mut all).await;
    fake.cut("lb1", true);
    for lb in &all[1..] {
        lb.hear_living(&["lb2", "lb3"]);
        lb.sessions.look_for_left(Duration::from_secs(100));
        lb.sessions.look_for_left(Duration::from_secs(99) + LEFT_MAX);
    }
    settle(&mut all[1..]).await;
    assert!(all[1].elsewhere("ufrag"), "its host may be back soon");
    let before = fake.calls();
    for lb in &all[1..] {
        lb.sessions.look_for_left(Duration::from_secs(100) + LEFT_MAX);
    }
    settle(&mut all[1..]).await;
    assert_eq!(fake.calls(), before + 1);
    assert!(records(&fake).is_empty() && !all[1].elsewhere("ufrag") && !all[2].elsewhere("ufrag"));
    // It was not: what it has, it tells again.
    fake.cut("lb1", false);
    settle(&mut all).await;
    assert_eq!(records(&fake)[0].carriers, ["lb1"]);
}

#[tokio::test]
async fn troubles_of_the_store_delay_no_answer_for_long_and_are_made_good() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    for trouble in [Trouble::Slow, Trouble::SlowDone, Trouble::ReadOnly] {
        fake.trouble(trouble);
        all[0].signal("ufrag", RESOURCE).await;
        assert!(all[0].sessions.knows("ufrag"));
    }
    fake.trouble(Trouble::None);
    settle(&mut all).await;
    assert!(all[1].elsewhere("ufrag"));
    fake.down(true);
    settle(&mut all).await;
    all[0].signal("alone", "o1 /whip/2").await;
    fake.down(false);
    settle(&mut all).await;
    assert!(all[1].elsewhere("alone"));
    fake.empty();
    settle(&mut all).await;
    assert_eq!(records(&fake).len(), 2);
    assert!(all[0].sessions.knows("ufrag") && all[1].elsewhere("ufrag"), "a record that goes away ends nothing");
    fake.scribble(&session_key(RESOURCE), None);
    settle(&mut all).await;
    assert_eq!(records(&fake).len(), 2);
}

#[tokio::test]
async fn a_session_of_an_earlier_process_gets_its_resource_back() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    let record = records(&fake).remove(0);
    let placement = all[0].place().await;
    let key = Arc::new(record.stream.parse().unwrap());
    let (ufrags, media, role) = (record.ufrags.clone(), record.media, Role::Play);
    let adopted = NewSession { ufrags, key, role, placement, media, client: None, resource: None };
    {
        let mut table = all[0].sessions.table();
        assert!(table.remove(record.number).is_some());
        table.insert(record.number, crate::rtc::session::Session::new(adopted, Duration::ZERO));
    }
    let entry = fake.records().into_iter().find(|entry| entry.key == session_key(RESOURCE)).unwrap();
    all[0].sessions.whole(&[entry]);
    assert!(all[0].sessions.end_known(RESOURCE) && all[0].sessions.is_empty());
    settle(&mut all).await;
    assert!(records(&fake).is_empty());
}

#[tokio::test]
async fn an_origin_that_gives_a_resource_again_has_ended_the_session_before() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    let reset = all[0].hear("ufrag", CLIENT).await.unwrap();
    settle(&mut all).await;
    let placement = all[1].place().await;
    let again = NewSession {
        ufrags: vec!["again".into()],
        key: Arc::new("__defaultVhost__/live/cam".parse().unwrap()),
        role: Role::Publish,
        placement,
        media: at(MEDIA),
        client: None,
        resource: Some(RESOURCE.into()),
    };
    all[1].sessions.register(again).await.unwrap();
    settle(&mut all).await;
    assert!(reset.is_given() && all[0].sessions.is_empty() && all[0].elsewhere("again"));
    assert_eq!((records(&fake).len(), &records(&fake)[0].carriers[..]), (1, &["lb2".to_owned()][..]));
}

#[tokio::test]
async fn an_origin_that_gives_a_name_again_has_no_other_session_of_it() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    let reset = all[0].hear("ufrag", CLIENT).await.unwrap();
    settle(&mut all).await;
    all[1].signal("ufrag", "o1 /whip/2").await;
    settle(&mut all).await;
    assert!(reset.is_given());
    let [record] = &records(&fake)[..] else { panic!("{:?}", records(&fake)) };
    assert_eq!(record.resource.as_deref(), Some("o1 /whip/2"));
}
