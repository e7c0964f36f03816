//! Every kind of answer, and of none.

use super::*;

async fn verdict(says: &[u8], failure: AuthFailure) -> (Verdict, u64, u64) {
    let server = Server::start(says).await;
    let (authorizer, counters) = server.authorizer(failure);
    let verdict = authorizer.ask(question("cam", "198.51.100.7:5000", "token=x")).await;
    (verdict, counters.get(Reason::Denied), counters.get(Reason::AuthFailed))
}

#[tokio::test]
async fn without_a_hook_everybody_may() {
    assert_eq!(Authorizer::default().ask(question("cam", "198.51.100.7:5000", "")).await, Verdict::Allowed);
}

#[tokio::test]
async fn the_question_is_the_one_that_srs_asks() {
    let server = Server::with_status(200, "0").await;
    let (authorizer, _) = server.authorizer(AuthFailure::Deny);
    let play = question("cam", "[::ffff:198.51.100.7]:5000", "token=x");
    let publish = Question {
        role: Role::Publish,
        protocol: Protocol::Rtmp,
        query: "?a=b".into(),
        ..question("cam", "[fd00::1]:1", "")
    };
    assert!(authorizer.ask(play).await.is_allowed() && authorizer.ask(publish).await.is_allowed());
    let asked = server.asked();
    for (field, value) in [
        ("action", "on_play"),
        ("ip", "198.51.100.7"),
        ("vhost", "a.b.com"),
        ("app", "live"),
        ("stream", "cam"),
        ("param", "?token=x"),
        ("tcUrl", "http://a.b.com/live/cam.m3u8"),
        ("stream_url", "a.b.com/live/cam"),
        ("protocol", "hls"),
    ] {
        assert_eq!(asked[0][field], value, "{field}");
    }
    let second = (&asked[1]["action"], &asked[1]["ip"], &asked[1]["param"], &asked[1]["protocol"]);
    assert_eq!(second, (&"on_publish".into(), &"fd00::1".into(), &"?a=b".into(), &"rtmp".into()));
    assert!(asked.iter().all(|a| a["server_id"].is_string() && a["service_id"].is_string()));
    assert_ne!(asked[0]["client_id"], asked[1]["client_id"]);
}

#[tokio::test]
async fn zero_allows_and_every_other_answer_denies() {
    for (status, body, allows) in [
        (200, "0", true),
        (200, r#"{"code":0,"msg":"OK"}"#, true),
        (200, "1", false),
        (200, r#"{"code":403}"#, false),
        (200, "<html>welcome</html>", false),
        (200, "", false),
        (201, "0", false),
        (301, "0", false),
        (403, "0", false),
        (404, "", false),
        (500, "0", false),
    ] {
        for failure in [AuthFailure::Deny, AuthFailure::Allow] {
            let (verdict, denied, failed) = verdict(answer(status, body).as_bytes(), failure).await;
            assert_eq!(verdict.is_allowed(), allows, "{status} {body}");
            assert!(allows || matches!(verdict, Verdict::Denied(_)), "{status} {body}: {verdict:?}");
            assert_eq!((denied, failed), (u64::from(!allows), 0), "{status} {body}");
        }
    }
    let huge = answer(200, &format!("0{}", " ".repeat(100_000)));
    assert!(matches!(verdict(huge.as_bytes(), AuthFailure::Allow).await.0, Verdict::Denied(_)));
}

#[tokio::test]
async fn no_answer_is_what_the_settings_say() {
    let unavailable = answer(503, "try later");
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    for says in [SILENCE, b"nonsense\r\n\r\n", unavailable.as_bytes(), half.as_bytes(), b"HTTP/1.1 2"] {
        let (denied, _, failed) = verdict(says, AuthFailure::Deny).await;
        assert!(matches!(denied, Verdict::Unavailable(_)), "{denied:?}");
        assert_eq!((denied.reason(), failed), (Some(Reason::AuthFailed), 1));
        assert_eq!(verdict(says, AuthFailure::Allow).await, (Verdict::Allowed, 0, 1));
    }
}

#[tokio::test]
async fn a_hook_that_is_not_there_is_no_answer() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (authorizer, _) = authorizer(&format!("http://{nobody}/auth"), AuthFailure::Deny);
    let Verdict::Unavailable(why) = authorizer.ask(question("cam", "198.51.100.7:5000", "")).await else { panic!() };
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn many_questions_at_once_are_all_answered() {
    let server = Server::with_status(200, "0").await;
    let (authorizer, _) = server.authorizer(AuthFailure::Deny);
    let authorizer = Arc::new(authorizer);
    let ask = |n: u32| {
        let authorizer = authorizer.clone();
        tokio::spawn(async move { authorizer.ask(question(&format!("cam{n}"), "198.51.100.7:5000", "")).await })
    };
    let all: Vec<_> = (0..100).map(ask).collect();
    for one in all {
        assert!(one.await.unwrap().is_allowed());
    }
    assert_eq!(server.asked().len(), 100);
}
