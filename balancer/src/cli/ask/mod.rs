//! `balancer status|origins|streams|flows|drain|undrain`: what the system API says, as a table or unchanged.

mod drain;
mod status;
mod views;

use super::client::Client;
use super::{inputs, output};
use anyhow::Context;
use clap::ArgMatches;

pub use drain::{drain, undrain};
pub use views::{VIEWS, View};

/// Shows one of the views.
pub fn show(view: &View, args: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::new(&inputs::without_host(args))?;
    let body = client.get(view.path)?;
    if args.get_flag("json") {
        let newline = if body.ends_with('\n') { "" } else { "\n" };
        return Ok(output::emit(&format!("{body}{newline}"))?);
    }
    let json = serde_json::from_str(&body).with_context(|| format!("{} did not answer in JSON", view.path))?;
    Ok(output::emit(&view.render(&json)?)?)
}
