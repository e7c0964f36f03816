//! Records and flows over the nodes of a Cluster, while slots move and nodes go.

use super::*;
use balancer::cluster::FlowAt;
use balancer_lab::redis::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_may_move_while_balancers_write() {
    if !met(&[Need::Redis]) {
        return;
    }
    let cluster = Cluster::start(&Place::loopback()).unwrap();
    let (one, mut two) = (Balancer::join(&cluster.url(), "lb1").await, Balancer::join(&cluster.url(), "lb2").await);
    let mut versions = BTreeMap::new();
    for n in 0..300 {
        let key = stream(&n.to_string());
        versions.insert(key.clone(), one.write(&key, Some("{}"), &Version::none()).await);
    }
    two.until_copy("all writes", |copy| copy.len() == 300).await;
    for shard in [0, 17, 63] {
        cluster.move_slot_of(&format!("test:{{{shard}}}:t")).unwrap();
    }
    for (key, seen) in &mut versions {
        *seen = one.write(key, Some("{\"n\":2}"), seen).await;
    }
    two.until_copy("all writes", |copy| copy.values().all(|entry| entry.value.as_deref() == Some("{\"n\":2}"))).await;
    assert!(two.copy.iter().all(|(key, entry)| entry.version == versions[key]));

    one.shelf.live("lb1", TIME_MAX, &[]).await.unwrap();
    assert_eq!(two.shelf.live("lb2", TIME_MAX, &["lb1".into()]).await, Ok(vec!["lb1".into()]));
    one.shelf.tell(None, "hello").await.unwrap();
    two.until("hello", |news| matches!(news, News::Told(_)).then_some(())).await;
    let flows: Vec<_> = (0..200)
        .map(|n| FlowAt { client: format!("c{n}").into(), origin: format!("o{n}").into(), value: Some("{}".into()) })
        .collect();
    one.shelf.put_flows("lb1", &flows).await.unwrap();
    let found = two.shelf.find_flows(&["lb1".into()], &["c3".into(), "o4".into(), "x".into()]).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_is_waited_for() {
    if !met(&[Need::Redis]) {
        return;
    }
    let cluster = Cluster::start(&Place::loopback()).unwrap();
    let mut one = Balancer::join(&cluster.url(), "lb1").await;
    cluster.nodes[1].freeze(true).unwrap();
    one.until("down", |news| matches!(news, News::Down(_)).then_some(())).await;
    cluster.nodes[1].freeze(false).unwrap();
    one.until("up", |news| matches!(news, News::Up).then_some(())).await;
    eventually("a write", || async {
        matches!(one.shelf.put(&stream("a"), Some("{}"), &Version::none()).await, Ok(Put::Done(_) | Put::Lost(_)))
    })
    .await;
}
