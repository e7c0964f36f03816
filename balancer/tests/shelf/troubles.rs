//! A store that is away, slow, full, read-only, or not yet there.

use super::*;

async fn until_down(balancer: &mut Balancer) -> ShelfError {
    let down = |news: &News| if let News::Down(error) = news { Some(error.clone()) } else { None };
    balancer.until("down", down).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_at_first_is_found_later() {
    let Some(mut server) = server(&[]) else { return };
    server.kill();
    let mut one = Balancer::of(options(&server.url(), "lb1"));
    assert!(matches!(until_down(&mut one).await, ShelfError::Down(_)));
    assert!(matches!(one.shelf.now().await, Err(ShelfError::Down(_))));
    server.restart().unwrap();
    one.until("up", |news| matches!(news, News::Up).then_some(())).await;
    one.write(&stream("a"), Some("{}"), &Version::none()).await;

    server.kill();
    assert!(matches!(until_down(&mut one).await, ShelfError::Down(_)));
    let before = one.counters.get(Reason::StoreDown);
    assert!(matches!(one.shelf.get(&stream("a")).await, Err(ShelfError::Down(_))));
    assert!(one.counters.get(Reason::StoreDown) > before);
    server.restart().unwrap();
    one.until("up again, and empty", |news| matches!(news, News::Whole(all) if all.is_empty()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_is_late_and_no_more() {
    let Some(server) = server(&[]) else { return };
    let mut one = Balancer::of(Options { timeout: Duration::from_millis(200), ..options(&server.url(), "lb1") });
    one.until("all records", |news| matches!(news, News::Whole(_)).then_some(())).await;
    one.write(&stream("before"), Some("{}"), &Version::none()).await;
    server.cli(&["CLIENT", "PAUSE", "1000", "ALL"]).unwrap();
    assert_eq!(one.shelf.put(&stream("a"), Some("{}"), &Version::none()).await, Err(ShelfError::Late));
    assert!(one.counters.get(Reason::StoreLate) >= 1);
    eventually("an answer", || async { one.shelf.get(&stream("a")).await.is_ok() }).await;
    // It was done, though nobody waited for it.
    one.until_copy("the late write", |copy| copy.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_store_is_down_and_comes_back() {
    let Some(server) = server(&[]) else { return };
    let mut one = Balancer::of(Options { timeout: Duration::from_millis(200), ..options(&server.url(), "lb1") });
    one.until("all records", |news| matches!(news, News::Whole(_)).then_some(())).await;
    server.freeze(true).unwrap();
    assert_eq!(one.shelf.get(&stream("a")).await, Err(ShelfError::Late));
    until_down(&mut one).await;
    server.freeze(false).unwrap();
    one.until("up", |news| matches!(news, News::Up).then_some(())).await;
    one.write(&stream("a"), Some("{}"), &Version::none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_writes_but_not_removals_nor_life() {
    let Some(server) = server(&["maxmemory-policy noeviction"]) else { return };
    let (one, mut two) = (Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await);
    let version = one.write(&stream("a"), Some("{}"), &Version::none()).await;
    one.shelf.live("lb1", TIME_MAX, &[]).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let refused = one.shelf.put(&stream("b"), Some("{}"), &Version::none()).await;
    assert!(matches!(&refused, Err(ShelfError::Refused(words)) if words.contains("OOM")), "{refused:?}");
    assert_eq!(one.counters.get(Reason::StoreRefused), 1);
    assert_eq!(one.shelf.live("lb1", TIME_MAX, &["lb1".into()]).await, Ok(vec!["lb1".into()]));
    one.write(&stream("a"), None, &version).await;
    two.until_copy("the removal", BTreeMap::is_empty).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    one.write(&stream("b"), Some("{}"), &Version::none()).await;
    two.until_copy("the write", |copy| copy.contains_key(&stream("b"))).await;
    assert_eq!(two.counters.get(Reason::RecordRepaired), 0, "a refused write leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_refuses_and_says_so() {
    let Some(server) = server(&[]) else { return };
    let one = Balancer::join(&server.url(), "lb1").await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let refused = one.shelf.put(&stream("b"), Some("{}"), &Version::none()).await;
    assert!(matches!(&refused, Err(ShelfError::Refused(words)) if words.contains("READONLY")), "{refused:?}");
    server.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    one.write(&stream("b"), Some("{}"), &Version::none()).await;
}

/// Who restarts has forgotten the scripts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_are_taught_again() {
    let Some(server) = server(&[]) else { return };
    let one = Balancer::join(&server.url(), "lb1").await;
    server.cli(&["SCRIPT", "FLUSH"]).unwrap();
    one.write(&stream("a"), Some("{}"), &Version::none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_have_written_harms_nobody() {
    let Some(server) = server(&[]) else { return };
    for shard in 0..64 {
        server
            .cli(&["HSET", &format!("test:{{{shard}}}:t"), "s/a", "nonsense", "q/unknown", "b:1 {}", "x", "y"])
            .unwrap();
    }
    let mut one = Balancer::join(&server.url(), "lb1").await;
    assert_eq!(one.copy.len(), 1);
    server.cli(&["PUBLISH", "test:news", "not ours"]).unwrap();
    server.cli(&["PUBLISH", "test:tell", "neither"]).unwrap();
    eventually("to be counted", || async { one.counters.get(Reason::RecordForeign) == 1 }).await;
    let Ok(Put::Lost(there)) = one.shelf.put(&stream("a"), Some("{}"), &Version::none()).await else { panic!() };
    assert_eq!(there.value.as_deref(), Some("nonsense"));
    one.write(&stream("a"), Some("{}"), &there.version).await;
    let ours = |copy: &BTreeMap<Key, Entry>| copy[&stream("a")].value.as_deref() == Some("{}");
    one.until_copy("ours instead", ours).await;
}
