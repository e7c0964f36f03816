//! `balancer unload`: takes the fast path off the host.

use super::{inputs, output};
use crate::config::resolve::resolve_only;
use crate::offload;
use clap::ArgMatches;

pub fn unload(args: &ArgMatches) -> anyhow::Result<()> {
    let (settings, _) = resolve_only(&inputs::without_host(args), &["pin_path"])?;
    let pins = settings.pin_path;
    let unloaded = offload::unload(&pins)?;
    let text = match (unloaded.pins, unloaded.interfaces.as_slice()) {
        (0, []) => format!("nothing is loaded under {}\n", pins.display()),
        (count, []) => format!("removed {count} pins from {}\n", pins.display()),
        (count, interfaces) => format!(
            "detached from {}, removed {count} pins from {}; the flows in the kernel have ended\n",
            interfaces.join(", "),
            pins.display()
        ),
    };
    Ok(output::emit(&text)?)
}
