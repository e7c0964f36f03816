//! Who may: passwords, users, TLS, databases and prefixes.

use super::*;
use balancer_lab::certificates::Certificates;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said() {
    if !met(&[Need::Redis]) {
        return;
    }
    let setup = Setup { password: Some("right".into()), ..Setup::default() };
    let server = Server::start(&Place::loopback(), &setup).unwrap();
    for (credentials, words) in [("", "NOAUTH"), (":wrong@", "AUTH"), ("nobody:wrong@", "AUTH")] {
        let url = server.url().replace("://", &format!("://{credentials}"));
        let mut one = Balancer::of(options(&url, "lb1"));
        let refused = |news: &News| match news {
            News::Down(ShelfError::Refused(text)) => Some(text.clone()),
            _ => None,
        };
        let text = one.until("a refusal", refused).await;
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("wrong@") && one.counters.get(Reason::StoreRefused) >= 1);
    }
    let one = Balancer::join(&server.url().replace("://", "://:right@"), "lb1").await;
    one.write(&stream("a"), Some("{}"), &Version::none()).await;
}

/// The rights that the README asks for, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_needs_few_rights() {
    let user =
        "user lb on >pw resetchannels ~test:* &test:* -@all +@read +@write +@pubsub +@scripting +@connection +time";
    let Some(server) = server(&[user]) else { return };
    let url = server.url().replace("://", "://lb:pw@");
    let (one, mut two) = (Balancer::join(&url, "lb1").await, Balancer::join(&url, "lb2").await);
    one.write(&stream("a"), Some("{}"), &Version::none()).await;
    one.shelf.live("lb1", TIME_MAX, &["lb2".into()]).await.unwrap();
    one.shelf.now().await.unwrap();
    two.until_copy("the record", |copy| copy.len() == 1).await;

    let elsewhere = Options { prefix: "other".into(), ..options(&url, "lb3") };
    let mut three = Balancer::of(elsewhere);
    let refused =
        |news: &News| matches!(news, News::Down(ShelfError::Refused(text)) if text.contains("NOPERM")).then_some(());
    three.until("a refusal", refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_wants_a_certificate_that_somebody_vouches_for() {
    if !met(&[Need::Redis]) {
        return;
    }
    let certificates = Certificates::new().unwrap();
    certificates.issue("redis", &["127.0.0.1"]).unwrap();
    let tls = Some((certificates.certificate("redis"), certificates.key("redis")));
    let server = Server::start(&Place::loopback(), &Setup { tls, ..Setup::default() }).unwrap();
    let mut stranger = Balancer::of(options(&server.url(), "lb1"));
    stranger.until("a refusal", |news| matches!(news, News::Down(_)).then_some(())).await;

    let ca = std::fs::read(certificates.certificate("redis")).unwrap();
    let mut one = Balancer::of(Options { ca: Some(ca), ..options(&server.url(), "lb1") });
    one.until("up", |news| matches!(news, News::Up).then_some(())).await;
    one.write(&stream("a"), Some("{}"), &Version::none()).await;
    one.until_copy("its own push", |copy| copy.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_and_prefixes_are_worlds_of_their_own() {
    let Some(server) = server(&[]) else { return };
    let mut one = Balancer::join(&server.url(), "lb1").await;
    let mut two = Balancer::join(&format!("{}/1", server.url()), "lb2").await;
    let mut three = Balancer::of(Options { prefix: "other".into(), ..options(&server.url(), "lb3") });
    three.until("all records", |news| matches!(news, News::Whole(_)).then_some(())).await;
    for (balancer, name) in [(&one, "a"), (&two, "b"), (&three, "c")] {
        balancer.write(&stream(name), Some("{}"), &Version::none()).await;
    }
    for (balancer, name) in [(&mut one, "a"), (&mut two, "b"), (&mut three, "c")] {
        balancer.until_copy("its own", |copy| copy.contains_key(&stream(name))).await;
        assert_eq!(balancer.copy.len(), 1);
    }
    assert!(two.shelf.get(&stream("a")).await.unwrap().value.is_none());
}
