//! That the fake keeps what [`Shelf`] promises: other tests rely on it.

use super::*;
use crate::cluster::Kind;

fn key(name: &str) -> Key {
    Key::new(Kind::Stream, name)
}

async fn done(shelf: &dyn Shelf, key: &Key, value: Option<&str>, seen: &Version) -> Version {
    match shelf.put(key, value, seen).await {
        Ok(Put::Done(version)) => version,
        other => panic!("not done: {other:?}"),
    }
}

fn heard(news: &mut mpsc::Receiver<News>) -> Vec<News> {
    std::iter::from_fn(|| news.try_recv().ok()).collect()
}

#[tokio::test]
async fn of_two_that_write_at_once_one_is_told_what_the_other_wrote() {
    let fake = Fake::new();
    let (one, two) = (fake.shelf("lb1"), fake.shelf("lb2"));
    let version = done(&*one, &key("a"), Some("1"), &Version::none()).await;
    let there = Entry { key: key("a"), version: version.clone(), value: Some("1".into()) };
    assert_eq!(two.put(&key("a"), Some("2"), &Version::none()).await, Ok(Put::Lost(there.clone())));
    assert_eq!(two.get(&key("a")).await, Ok(there));

    assert!(done(&*two, &key("a"), None, &version).await.is_none());
    assert_eq!(two.get(&key("a")).await, Ok(Entry { key: key("a"), version: Version::none(), value: None }));
    fake.empty();
    assert_ne!(done(&*one, &key("a"), Some("1"), &Version::none()).await, version);
}

#[tokio::test]
async fn all_hear_of_a_change_also_who_made_it() {
    let fake = Fake::new();
    let (one, two) = (fake.shelf("lb1"), fake.shelf("lb2"));
    let (mut first, mut second) = (one.news(), two.news());
    assert_eq!(heard(&mut first), [News::Up, News::Whole(Vec::new())]);
    assert_eq!(heard(&mut second).len(), 2);
    let version = done(&*one, &key("a"), Some("1"), &Version::none()).await;
    let changed = News::Changed(Entry { key: key("a"), version, value: Some("1".into()) });
    assert_eq!(heard(&mut first), std::slice::from_ref(&changed));
    assert_eq!(heard(&mut second), [changed]);

    one.tell(None, "to all").await.unwrap();
    one.tell(Some("lb2"), "to one").await.unwrap();
    assert_eq!(heard(&mut first), []);
    assert_eq!(heard(&mut second), [News::Told("to all".into()), News::Told("to one".into())]);
}

#[tokio::test]
async fn who_was_away_gets_everything() {
    let fake = Fake::new();
    let (one, two) = (fake.shelf("lb1"), fake.shelf("lb2"));
    let mut second = two.news();
    heard(&mut second);
    fake.cut("lb2", true);
    assert!(matches!(heard(&mut second)[..], [News::Down(_)]));
    assert!(matches!(two.now().await, Err(ShelfError::Down(_))));
    done(&*one, &key("a"), Some("1"), &Version::none()).await;
    fake.cut("lb2", false);
    assert_eq!(heard(&mut second), [News::Up, News::Whole(fake.records())]);

    fake.lose_pushes(true);
    fake.scribble(&key("b"), Some("2"));
    assert_eq!(heard(&mut second), []);
    fake.lose_pushes(false);
    assert_eq!(heard(&mut second), [News::Whole(fake.records())]);
    fake.empty();
    assert_eq!(heard(&mut second), [News::Whole(Vec::new())]);

    fake.down(true);
    assert!(matches!(one.get(&key("a")).await, Err(ShelfError::Down(_))));
    fake.down(false);
    assert_eq!(heard(&mut second).len(), 3);
}

#[tokio::test]
async fn troubles() {
    let fake = Fake::new();
    let one = fake.shelf("lb1");
    fake.trouble(Trouble::Slow);
    assert_eq!(one.put(&key("a"), Some("1"), &Version::none()).await, Err(ShelfError::Late));
    assert_eq!(fake.records(), []);
    fake.trouble(Trouble::SlowDone);
    assert_eq!(one.put(&key("a"), Some("1"), &Version::none()).await, Err(ShelfError::Late));
    assert_eq!(fake.records().len(), 1);
    fake.trouble(Trouble::ReadOnly);
    assert!(matches!(one.put(&key("b"), Some("1"), &Version::none()).await, Err(ShelfError::Refused(_))));
    assert!(one.get(&key("a")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_balancer_lives_as_long_as_it_says_so() {
    let fake = Fake::new();
    let (one, two) = (fake.shelf("lb1"), fake.shelf("lb2"));
    let ttl = Duration::from_secs(3);
    let others: [Arc<str>; 2] = ["lb1".into(), "lb3".into()];
    one.live("lb1", ttl, &[]).await.unwrap();
    assert_eq!(two.live("lb2", ttl, &others).await, Ok(vec!["lb1".into()]));
    let before = two.now().await.unwrap();
    fake.advance(ttl);
    assert_eq!(two.now().await, Ok(before + ttl));
    assert_eq!(two.live("lb2", ttl, &others).await, Ok(vec![]));
}

#[tokio::test]
async fn a_flow_has_two_names_and_an_owner() {
    let fake = Fake::new();
    let one = fake.shelf("lb1");
    let flow = |n: usize, value: Option<&str>| FlowAt {
        client: format!("c{n}").into(),
        origin: format!("o{n}").into(),
        value: value.map(Into::into),
    };
    let flows: Vec<_> = (0..=PAGE_FLOWS).map(|n| flow(n, Some("x"))).collect();
    one.put_flows("lb1", &flows).await.unwrap();
    one.put_flows("lb1", &[flow(7, None)]).await.unwrap();
    let owners: [Arc<str>; 2] = ["lb2".into(), "lb1".into()];
    let keys: [Arc<str>; 4] = ["c1".into(), "o2".into(), "c7".into(), "o7".into()];
    let found = Some(FoundFlow { owner: "lb1".into(), value: "x".into() });
    assert_eq!(one.find_flows(&owners, &keys).await, Ok(vec![found.clone(), found, None, None]));

    one.put_flows("lb1", &[flow(7, Some("y"))]).await.unwrap();
    let first = one.flows_of("lb1", 0).await.unwrap();
    assert_eq!((first.flows.len(), first.next), (PAGE_FLOWS, Some(1)));
    let last = one.flows_of("lb1", 1).await.unwrap();
    assert_eq!((last.flows.len(), last.next), (1, None));
    one.forget_flows("lb1").await.unwrap();
    assert_eq!(one.flows_of("lb1", 0).await, Ok(FlowPage::default()));
}
