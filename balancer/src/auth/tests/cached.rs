//! What is remembered, of whom, and for how long.

use super::*;

const VIEWER: &str = "198.51.100.7:5000";

#[tokio::test]
async fn a_viewer_is_asked_about_once() {
    let server = Server::with_status(200, "0").await;
    let (authorizer, _) = server.authorizer(AuthFailure::Deny);
    let ask = |stream: &str, client: &str, query: &str| authorizer.ask_cached(question(stream, client, query));
    assert!(ask("cam", VIEWER, "token=x").await.is_allowed());
    // The next playlist, segments, other connections.
    assert!(ask("cam", VIEWER, "token=x").await.is_allowed());
    for (client, query) in [(VIEWER, ""), ("198.51.100.7:6000", ""), (VIEWER, "token=x"), (VIEWER, "hls_ctx=y")] {
        assert!(authorizer.ask_for_segment(question("cam", client, query)).await.is_allowed());
    }
    assert_eq!(server.asked().len(), 1);
    ask("other", VIEWER, "token=x").await;
    ask("cam", "198.51.100.8:5000", "token=x").await;
    authorizer.ask_cached(Question { role: Role::Publish, ..question("cam", VIEWER, "token=x") }).await;
    assert_eq!(server.asked().len(), 4, "another stream, another viewer, another role");
}

#[tokio::test]
async fn all_that_come_together_wait_for_one_answer() {
    let server = Server::with_status(200, "0").await;
    let (authorizer, _) = server.authorizer(AuthFailure::Deny);
    let authorizer = Arc::new(authorizer);
    let ask = |_| {
        let authorizer = authorizer.clone();
        tokio::spawn(async move { authorizer.ask_cached(question("cam", VIEWER, "token=x")).await })
    };
    let all: Vec<_> = (0..50).map(ask).collect();
    for one in all {
        assert!(one.await.unwrap().is_allowed());
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn who_was_denied_may_come_back_with_another_token() {
    let server = Server::with_status(403, "").await;
    let (authorizer, counters) = server.authorizer(AuthFailure::Deny);
    let ask = |query: &str| authorizer.ask_cached(question("cam", VIEWER, query));
    let ask_for_segment = || authorizer.ask_for_segment(question("cam", VIEWER, ""));
    for _ in 0..2 {
        assert!(matches!(ask("token=x").await, Verdict::Denied(_)));
        assert!(matches!(ask_for_segment().await, Verdict::Denied(_)));
    }
    assert_eq!((server.asked().len(), counters.get(Reason::Denied)), (1, 4));
    server.say(&answer(200, "0"));
    assert!(ask("token=y").await.is_allowed());
    assert!(ask_for_segment().await.is_allowed());
    assert_eq!(server.asked().len(), 2);
}

/// Behind one address there may be many, of whom one has paid.
#[tokio::test]
async fn a_playlist_is_judged_by_its_own_token() {
    let server = Server::with_status(200, "0").await;
    let (authorizer, _) = server.authorizer(AuthFailure::Deny);
    let ask = |query: &str| authorizer.ask_cached(question("cam", VIEWER, query));
    assert!(ask("token=x").await.is_allowed());
    server.say(&answer(403, ""));
    for query in ["", "token=y"] {
        assert!(matches!(ask(query).await, Verdict::Denied(_)), "{query:?}");
    }
    assert!(ask("token=x").await.is_allowed(), "nor does who has none take it from who has one");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn who_waits_for_others_answers_does_not_wait_for_long() {
    let server = Server::start(SILENCE).await;
    let (authorizer, counters) = server.authorizer(AuthFailure::Deny);
    let authorizer = Arc::new(authorizer);
    let ask = |n: u32| {
        let authorizer = authorizer.clone();
        let question = question("cam", VIEWER, &format!("token={n}"));
        tokio::spawn(async move { authorizer.ask_for_segment(question).await })
    };
    let all: Vec<_> = (0..20).map(ask).collect();
    for one in all {
        assert!(matches!(one.await.unwrap(), Verdict::Unavailable(_)));
    }
    assert_eq!(counters.get(Reason::AuthFailed), 20);
    assert!(server.asked().len() < 4, "those who were too late have asked nobody");
}

#[tokio::test]
async fn a_denial_is_forgotten_after_a_while() {
    let server = Server::with_status(403, "").await;
    let (authorizer, _) = server.authorizer(AuthFailure::Deny);
    assert!(!authorizer.ask_cached(question("cam", VIEWER, "token=x")).await.is_allowed());
    server.say(&answer(200, "0"));
    tokio::time::sleep(DENIED_FOR + Duration::from_millis(50)).await;
    assert!(authorizer.ask_cached(question("cam", VIEWER, "token=x")).await.is_allowed());
}

#[tokio::test]
async fn a_failure_is_not_held_against_anybody_for_long() {
    let server = Server::with_status(503, "").await;
    let (authorizer, counters) = server.authorizer(AuthFailure::Allow);
    let ask = || authorizer.ask_cached(question("cam", VIEWER, "token=x"));
    assert!(ask().await.is_allowed() && ask().await.is_allowed());
    assert_eq!((server.asked().len(), counters.get(Reason::AuthFailed)), (1, 1));
    server.say(&answer(403, ""));
    tokio::time::sleep(UNKNOWN_FOR + Duration::from_millis(50)).await;
    assert!(!ask().await.is_allowed());
}

#[test]
fn a_segment_is_asked_about_with_the_playlists_token() {
    let mut remembered = memory::Remembered::default();
    remembered.remember("token=x".into(), Verdict::Allowed, Duration::ZERO);
    assert_eq!((remembered.verdict(""), remembered.query()), (None, "token=x"));
    remembered.remember("token=x".into(), Verdict::Denied("no".into()), DENIED_FOR);
    assert_eq!(remembered.query(), "", "a token that is no good is not used for others");
    assert!(remembered.verdict("").is_some() && remembered.verdict("token=y").is_none());
}

#[test]
fn memory_is_bounded() {
    let memory = Memory::default();
    for n in 0..70_000u32 {
        memory.of_query(&question("cam", &format!("[fd00::{:x}:{:x}]:1", n >> 16, n & 0xffff), ""));
    }
    assert_eq!(memory.len(), 65_536);
}
