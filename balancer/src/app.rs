//! Wires the parts together. (A stub: the parts are on their way.)

use crate::config::Settings;

pub async fn run(_settings: Settings) -> anyhow::Result<()> {
    anyhow::bail!("this build has no balancer in it yet")
}
