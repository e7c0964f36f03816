//! Whether the store that balancers share is reached, and lets this one in. Nothing is written there.

use super::finding::Findings;
use crate::cluster::redis::{connect, remedy};
use crate::cluster::{Kind, News, ShelfError};
use crate::config::Settings;
use crate::config::StoreKind;
use crate::config::store_url::RedisUrl;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const AREA: &str = "store";
/// To connect, and to read all records.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

/// What lies there.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    balancers: usize,
    origins: usize,
    streams: usize,
}

pub fn look_and_judge(settings: &Settings, findings: &mut Findings) {
    let StoreKind::Redis(url) = &settings.store else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map(|runtime| runtime.block_on(look(settings))) {
        Ok(Ok(seen)) => judge(url, seen, findings),
        Ok(Err(error)) => findings.error(AREA, format!("{error}"), "see store_ca"),
        Err(error) => findings.warn(AREA, format!("it cannot be looked at: {error}"), ""),
    }
}

async fn look(settings: &Settings) -> anyhow::Result<Result<Seen, ShelfError>> {
    let Some(shelf) = connect(settings, Default::default())? else { anyhow::bail!("there is none") };
    let (mut news, deadline) = (shelf.news(), Instant::now() + LOOK_TIME_MAX);
    let mut last = ShelfError::Late;
    while let Ok(Some(heard)) = timeout_at(deadline, news.recv()).await {
        match heard {
            News::Whole(entries) => {
                let count = |kind| entries.iter().filter(|e| e.key.kind == kind && e.value.is_some()).count();
                return Ok(shelf.now().await.map(|_| Seen {
                    balancers: count(Kind::Peer),
                    origins: count(Kind::Origin),
                    streams: count(Kind::Stream),
                }));
            }
            // Nobody lets us in later who does not now.
            News::Down(error @ ShelfError::Refused(_)) => return Ok(Err(error)),
            News::Down(error) => last = error,
            News::Up | News::Changed(_) | News::Told(_) => {}
        }
    }
    Ok(Err(last))
}

fn judge(url: &RedisUrl, seen: Result<Seen, ShelfError>, findings: &mut Findings) {
    let url = url.shown();
    match seen {
        Ok(Seen { balancers, origins, streams }) => {
            findings.ok(AREA, format!("{url} is reached: balancers {balancers}, origins {origins}, streams {streams}"))
        }
        Err(error @ ShelfError::Refused(_)) => findings.error(AREA, format!("{url}: {error}"), remedy(&error)),
        Err(error) => findings.warn(
            AREA,
            format!("{url}: {error}; until it is reached, this balancer serves what it knows by itself"),
            remedy(&error),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::config::XdpMode;

    fn judged(seen: Result<Seen, ShelfError>) -> (Level, String, String) {
        let mut findings = Findings::new(XdpMode::Auto);
        judge(&RedisUrl::parse("redis://:opensesame@192.0.2.5").unwrap(), seen, &mut findings);
        let finding = findings.all.remove(0);
        (finding.level, finding.what, finding.remedy)
    }

    #[test]
    fn a_store_that_refuses_is_an_error_and_one_that_is_away_is_not() {
        let (level, what, _) = judged(Ok(Seen { balancers: 2, origins: 3, streams: 4 }));
        assert!(level == Level::Ok && what.contains("origins 3") && !what.contains("opensesame"), "{what}");
        let (level, what, remedy) = judged(Err(ShelfError::Refused("WRONGPASS no".into())));
        assert!(level == Level::Error && what.contains("WRONGPASS") && remedy.contains("password"), "{what}");
        let (level, what, remedy) = judged(Err(ShelfError::Down("refused".into())));
        assert!(level == Level::Warn && what.contains("by itself") && !remedy.is_empty(), "{what}");
    }

    #[test]
    fn nobody_answers_there() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let store = StoreKind::Redis(RedisUrl::parse(&format!("redis://{free}")).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let seen = runtime.block_on(look(&Settings { store, ..Settings::default() })).unwrap();
        assert!(matches!(seen, Err(ShelfError::Down(_))), "{seen:?}");
    }
}
