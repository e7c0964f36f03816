//! A primary that dies or is replaced, and Sentinels that say so.

use super::*;
use balancer_lab::redis::Sentinels;

/// After a fail-over, one every [`SOON`].
const WRITES_MAX: usize = 120;
const SOON: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_primary_is_found() {
    if !met(&[Need::Redis]) {
        return;
    }
    let mut sentinels = Sentinels::start(&Place::loopback(), 2).unwrap();
    let (mut one, mut two) =
        (Balancer::join(&sentinels.url(), "lb1").await, Balancer::join(&sentinels.url(), "lb2").await);
    one.write(&stream("before"), Some("{}"), &Version::none()).await;
    two.until_copy("the first", |copy| copy.len() == 1).await;

    let old = sentinels.primary().unwrap();
    sentinels.primary_server().unwrap().kill();
    one.until("down", |news| matches!(news, News::Down(_)).then_some(())).await;
    let second = sentinels.wait_other(old).unwrap();
    one.until("up", |news| matches!(news, News::Up).then_some(())).await;
    eventually("a write", || async {
        matches!(one.shelf.put(&stream("after"), Some("{}"), &Version::none()).await, Ok(Put::Done(_) | Put::Lost(_)))
    })
    .await;
    two.until_copy("the write", |copy| copy.contains_key(&stream("after"))).await;

    // This time while both run: the old one goes on answering, but is no longer the one to write to.
    eventually("a replica that may follow", || async { sentinels.fail_over().is_ok() }).await;
    sentinels.wait_other(second).unwrap();
    // What the old one still took, it forgets when it follows the new one: whoever has written it writes it again.
    let mut is_heard = false;
    for number in 0..WRITES_MAX {
        let key = stream(&format!("last{number}"));
        // Refused while nobody is the one to write to.
        let _ = one.shelf.put(&key, Some("{}"), &Version::none()).await;
        let heard = two.until_copy("a last write", |copy| copy.keys().any(|key| key.name.contains("last")));
        is_heard = timeout(SOON, heard).await.is_ok();
        if is_heard {
            break;
        }
    }
    assert!(is_heard, "none of {WRITES_MAX} writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_sentinels_do_not_know_is_refused() {
    if !met(&[Need::Redis]) {
        return;
    }
    let sentinels = Sentinels::start(&Place::loopback(), 1).unwrap();
    let mut one = Balancer::of(options(&sentinels.url().replace("mymaster", "yours"), "lb1"));
    let refused =
        |news: &News| matches!(news, News::Down(ShelfError::Refused(text)) if text.contains("yours")).then_some(());
    one.until("a refusal", refused).await;
}
