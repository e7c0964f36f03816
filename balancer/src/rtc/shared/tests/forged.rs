//! Records that somebody else has written.

use super::*;

fn record() -> SessionRecord {
    SessionRecord {
        v: FORMAT,
        number: 9,
        ufrags: vec!["ufrag".into()],
        stream: "__defaultVhost__/live/cam".into(),
        role: "play".into(),
        origin: "o1".into(),
        epoch: EPOCH,
        media: at(MEDIA),
        resource: Some(RESOURCE.into()),
        carriers: vec!["lb2".into()],
        over: false,
        unknown: Unknown::new(),
    }
}

#[tokio::test]
async fn what_no_balancer_would_say_is_counted_and_ignored() {
    let fake = Fake::new();
    let [mut a] = balancers(&fake, ["lb1"]).await;
    let wrong: &[fn(&mut SessionRecord)] = &[
        |r| r.media = at("192.0.2.66:8000"),
        |r| r.media = at("10.1.0.5:0"),
        |r| r.media = at("224.0.0.1:8000"),
        |r| r.ufrags = vec![],
        |r| r.ufrags = vec!["with:colon".into()],
        |r| r.ufrags = vec!["name".repeat(3); 9],
        |r| r.resource = Some("o1 /whip/2".into()),
        |r| r.resource = None,
        |r| r.origin = "o".into(),
        |r| r.origin = "o2".into(),
        |r| r.number = 0,
        |r| r.role = "watch".into(),
        |r| r.stream = "no".into(),
        |r| r.carriers = vec!["lb".into(); 65],
    ];
    for (nth, change) in wrong.iter().enumerate() {
        let mut forged = record();
        change(&mut forged);
        fake.scribble(&session_key(RESOURCE), Some(&forged.text()));
        a.settle().await;
        assert_eq!(a.count(Reason::RecordForeign), nth as u64 + 1, "{forged:?}");
        assert!(!a.elsewhere("ufrag"), "{forged:?}");
    }
    for text in ["", "[]", "{\"v\":1}", &"x".repeat(20_000)] {
        fake.scribble(&session_key(RESOURCE), Some(text));
        a.settle().await;
    }
    assert_eq!(a.count(Reason::RecordForeign), wrong.len() as u64 + 4);
    fake.scribble(&session_key(RESOURCE), Some(&record().text()));
    a.settle().await;
    a.hear("ufrag", "198.51.100.7:5000").await.unwrap();
}

#[tokio::test]
async fn an_origin_that_is_not_there_or_another_run_of_it_gets_no_client() {
    let fake = Fake::new();
    let [mut a] = balancers(&fake, ["lb1"]).await;
    let elsewhere = SessionRecord { origin: "o2".into(), resource: Some("o2 /s".into()), ..record() };
    for (name, forged) in [("o2 /s", elsewhere), (RESOURCE, SessionRecord { epoch: EPOCH - 1, ..record() })] {
        fake.scribble(&session_key(name), Some(&forged.text()));
        a.settle().await;
        assert_eq!(a.hear("ufrag", "198.51.100.7:5000").await.err(), Some(Refused::Elsewhere));
        assert!(a.sessions.is_empty());
    }
    // Whether an origin may be there is asked again when it matters: a balancer has come since that listens there.
    fake.scribble(&session_key(RESOURCE), Some(&SessionRecord { media: at("10.1.0.9:8000"), ..record() }.text()));
    a.settle().await;
    let peer = fake.records().into_iter().find(|entry| entry.key.kind == Kind::Peer).unwrap().value.unwrap();
    let peer = PeerRecord { id: "lb7".into(), ..PeerRecord::read(&peer).unwrap() };
    fake.scribble(&Key::new(Kind::Peer, "lb7"), Some(&peer.text()));
    a.settle().await;
    assert_eq!(a.hear("ufrag", "198.51.100.7:5000").await.err(), Some(Refused::Elsewhere));
    assert_eq!(a.count(Reason::RecordForeign), 1);
}

#[tokio::test]
async fn what_another_version_has_written_is_left_alone() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    let newer = SessionRecord { v: FORMAT + 1, ..record() }.text();
    fake.scribble(&session_key(RESOURCE), Some(&newer));
    settle(&mut all).await;
    assert_eq!((all[0].count(Reason::RecordFormat), all[0].elsewhere("ufrag")), (1, false));
    all[0].signal("other", RESOURCE).await;
    settle(&mut all).await;
    let lies = fake.records().into_iter().find(|entry| entry.key == session_key(RESOURCE)).unwrap();
    assert_eq!(lies.value.as_deref(), Some(newer.as_str()));
}

#[tokio::test]
async fn a_session_of_ours_is_what_we_say_and_unknown_fields_stay() {
    let fake = Fake::new();
    let mut all = balancers(&fake, ["lb1", "lb2"]).await;
    all[0].signal("ufrag", RESOURCE).await;
    settle(&mut all).await;
    let ours = records(&fake).remove(0);
    fake.scribble(&session_key(RESOURCE), Some("nonsense"));
    settle(&mut all).await;
    assert_eq!(records(&fake), std::slice::from_ref(&ours));
    let mut newer = ours.clone();
    newer.unknown.insert("colour".into(), "green".into());
    fake.scribble(&session_key(RESOURCE), Some(&newer.text()));
    settle(&mut all).await;
    all[1].hear("ufrag", "198.51.100.7:5000").await.unwrap();
    settle(&mut all).await;
    assert_eq!(records(&fake), [SessionRecord { carriers: vec!["lb1".into(), "lb2".into()], ..newer }]);
}

#[tokio::test]
async fn a_name_that_another_origins_session_has_is_not_given_again() {
    let fake = Fake::new();
    let [mut a] = balancers(&fake, ["lb1"]).await;
    let spec = OriginSpec { lease: Some(Lease::Never), ..OriginSpec::default() };
    let mut endpoints = Endpoints::default();
    endpoints.add(ServiceKind::Rtmp, at("10.1.0.6:1935")).unwrap();
    let spec = OriginSpec { endpoints: Some(endpoints), ..spec };
    a.store.put_origin(&Name::parse("o2").unwrap(), &spec, a.clock.now()).await.unwrap();
    a.store.set_epoch("o2", EPOCH);
    let others = SessionRecord { origin: "o2".into(), resource: Some("o2 /s".into()), ..record() };
    fake.scribble(&session_key("o2 /s"), Some(&others.text()));
    a.settle().await;
    let new = NewSession {
        ufrags: vec!["ufrag".into()],
        key: Arc::new("__defaultVhost__/live/cam".parse().unwrap()),
        role: Role::Play,
        placement: a.place().await,
        media: at(MEDIA),
        client: None,
        resource: Some(RESOURCE.into()),
    };
    assert_eq!(a.sessions.register(new).await, Err(crate::rtc::RtcError::Taken));
}
