//! What one writes, the others hear: also when pushes are lost, and when everything is.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_reach_all_in_their_order() {
    let Some(server) = server(&[]) else { return };
    let (mut one, mut two) = (Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await);
    let key = stream("live/a b");
    let mut version = Version::none();
    let mut versions = Vec::new();
    for n in 0..500 {
        let value = (n % 7 != 6).then(|| format!("{{\"n\":{n}}}"));
        version = one.write(&key, value.as_deref(), &version).await;
        versions.push((version.clone(), value));
    }
    for balancer in [&mut one, &mut two] {
        for (version, value) in &versions {
            let News::Changed(entry) = balancer.next().await else { panic!("a change") };
            assert_eq!((&entry.key, &entry.version, entry.value.as_deref()), (&key, version, value.as_deref()));
        }
    }
    assert_eq!(two.shelf.get(&key).await.unwrap().version, version);
    let lost = two.shelf.put(&key, Some("{}"), &Version::none()).await;
    assert!(version.is_none() || matches!(lost, Ok(Put::Lost(there)) if there.version == version));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_later_is_told_everything_and_so_is_another_receiver() {
    let Some(server) = server(&[]) else { return };
    let one = Balancer::join(&server.url(), "lb1").await;
    for n in 0..300 {
        one.write(&stream(&n.to_string()), Some("{}"), &Version::none()).await;
    }
    let mut two = Balancer::join(&server.url(), "lb2").await;
    assert_eq!(two.copy.len(), 300);
    two.news = two.shelf.news();
    two.copy.clear();
    two.until_copy("everything again", |copy| copy.len() == 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_tells_reaches_whom_it_is_for() {
    let Some(server) = server(&[]) else { return };
    let one = Balancer::join(&server.url(), "lb1").await;
    let (mut two, mut three) = (Balancer::join(&server.url(), "lb2").await, Balancer::join(&server.url(), "lb3").await);
    one.shelf.tell(Some("lb2"), "for you alone").await.unwrap();
    one.shelf.tell(None, "for all\nof you").await.unwrap();
    assert_eq!(two.next().await, News::Told("for you alone".into()));
    assert_eq!(two.next().await, News::Told("for all\nof you".into()));
    assert_eq!(three.next().await, News::Told("for all\nof you".into()));
}

/// Its subscription is cut again and again while the other one writes: what it missed it finds out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_subscription_misses_nothing_in_the_end() {
    let Some(server) = server(&[]) else { return };
    let (one, mut two) = (Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await);
    for n in 0..400 {
        if n % 100 == 50 {
            server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
        }
        eventually("a write", || async {
            matches!(one.shelf.put(&stream(&n.to_string()), Some("{}"), &Version::none()).await, Ok(Put::Done(_)))
        })
        .await;
    }
    two.until_copy("all writes", |copy| copy.len() == 400).await;
}

/// Somebody writes as we do but his push is lost: the next push, or the comparison, shows the gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_push_is_repaired() {
    let Some(server) = server(&["user mute on nopass ~* &nothing +@all"]) else { return };
    let (one, mut two) = (Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await);
    let key = stream("live/a");
    let version = one.write(&key, Some("{\"n\":1}"), &Version::none()).await;
    two.until_copy("the first", |copy| copy.len() == 1).await;

    // What the script does, but for the push.
    let shard = shard_with(&server, &key);
    let forged =
        "born:131072 {\"n\":2}".replace("born", &server.cli(&["GET", &format!("test:{{{shard}}}:born")]).unwrap());
    server.cli(&["INCR", &format!("test:{{{shard}}}:seq")]).unwrap();
    server.cli(&["ZADD", &format!("test:{{{shard}}}:log"), "2", &key.to_string()]).unwrap();
    server.cli(&["HSET", &format!("test:{{{shard}}}:t"), &key.to_string(), &forged]).unwrap();
    let second = |copy: &BTreeMap<Key, Entry>| copy[&key].value.as_deref() == Some("{\"n\":2}");
    two.until_copy("the silent write", second).await;
    assert_ne!(two.copy[&key].version, version);
    assert_eq!(two.counters.get(Reason::RecordRepaired), 1);
}

fn shard_with(server: &Server, key: &Key) -> usize {
    let has =
        |shard: &usize| server.cli(&["HEXISTS", &format!("test:{{{shard}}}:t"), &key.to_string()]).unwrap() == "1";
    (0..64).find(has).expect("a shard has it")
}

/// One who was deaf for more writes than the log remembers reads the shard anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_far_behind_reads_everything() {
    let Some(server) = server(&[]) else { return };
    let (one, mut two) = (Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await);
    let key = stream("live/a");
    one.write(&key, Some("{}"), &Version::none()).await;
    two.until_copy("the first", |copy| copy.len() == 1).await;
    let shard = shard_with(&server, &key);
    server.cli(&["INCRBY", &format!("test:{{{shard}}}:seq"), "5000"]).unwrap();
    server.cli(&["SET", &format!("test:{{{shard}}}:floor"), "4000"]).unwrap();
    two.until("everything", |news| matches!(news, News::Whole(all) if all.len() == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_does_not_grow_for_ever() {
    let Some(server) = server(&[]) else { return };
    let one = Balancer::join(&server.url(), "lb1").await;
    // One shard gets a 64th of them.
    let writes = (0..100_000).map(|n| stream(&n.to_string()));
    let mut tasks = tokio::task::JoinSet::new();
    for chunk in writes.collect::<Vec<_>>().chunks(2000) {
        let (shelf, keys) = (one.shelf.clone(), chunk.to_vec());
        tasks.spawn(async move {
            for key in keys {
                shelf.put(&key, Some("{}"), &Version::none()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let logged: usize = server.cli(&["ZCARD", "test:{0}:log"]).unwrap().parse().unwrap();
    let floor: usize = server.cli(&["GET", "test:{0}:floor"]).unwrap().parse().unwrap();
    let written: usize = server.cli(&["GET", "test:{0}:seq"]).unwrap().parse().unwrap();
    assert!((1024..1024 + 64).contains(&logged), "{logged}");
    assert_eq!(floor + logged, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_is_noticed() {
    let Some(server) = server(&[]) else { return };
    let (one, mut two) = (Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await);
    let key = stream("live/a");
    let version = one.write(&key, Some("{}"), &Version::none()).await;
    two.until_copy("the record", |copy| copy.len() == 1).await;
    server.cli(&["FLUSHALL"]).unwrap();
    two.until("nothing", |news| matches!(news, News::Whole(all) if all.is_empty()).then_some(())).await;
    // What was seen before means nothing now, whatever the numbers say.
    let refused = one.shelf.put(&key, Some("{}"), &version).await.unwrap();
    assert_eq!(refused, Put::Lost(Entry { key: key.clone(), version: Version::none(), value: None }));
    assert_ne!(one.write(&key, Some("{}"), &Version::none()).await, version);
    two.until_copy("the record again", |copy| copy.len() == 1).await;
    assert!(two.counters.get(Reason::RecordRepaired) >= 1);
}

/// As after a fail-over to a replica that had not heard of the last writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_writes_have_numbers_that_do_not_come_again() {
    let Some(server) = server(&[]) else { return };
    let (one, mut two) = (Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await);
    let key = stream("live/a");
    let first = one.write(&key, Some("{\"n\":1}"), &Version::none()).await;
    let shard = shard_with(&server, &key);
    let kept = server.cli(&["HGET", &format!("test:{{{shard}}}:t"), &key.to_string()]).unwrap();
    let second = one.write(&key, Some("{\"n\":2}"), &first).await;
    assert!(first.is_before(&second));
    two.until_copy("both", |copy| copy.get(&key).is_some_and(|entry| entry.version == second)).await;

    server.cli(&["HSET", &format!("test:{{{shard}}}:t"), &key.to_string(), &kept]).unwrap();
    server.cli(&["SET", &format!("test:{{{shard}}}:seq"), "1"]).unwrap();
    two.until("all records", |news| matches!(news, News::Whole(_)).then_some(())).await;
    assert_eq!(two.copy[&key].version, first);
    let third = one.write(&key, Some("{\"n\":3}"), &first).await;
    assert!(third != second && !third.is_before(&second), "another life");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_lives_while_it_says_so() {
    let Some(server) = server(&[]) else { return };
    let (one, two) = (Balancer::join(&server.url(), "lb1").await, Balancer::join(&server.url(), "lb2").await);
    let others: Vec<Arc<str>> = vec!["lb1".into(), "lb9".into()];
    one.shelf.live("lb1", Duration::from_secs(600), &[]).await.unwrap();
    let alive = async || two.shelf.live("lb2", Duration::from_secs(600), &others).await.unwrap();
    assert_eq!(alive().await, [Arc::<str>::from("lb1")]);
    one.shelf.live("lb1", Duration::from_millis(1), &[]).await.unwrap();
    eventually("its end", || async { alive().await.is_empty() }).await;

    let (first, second) = (one.shelf.now().await.unwrap(), two.shelf.now().await.unwrap());
    assert!(first <= second && first > Duration::from_secs(1_600_000_000));
}
