//! Raw flags to validated settings to a thin `main`.

use std::process::ExitCode;

fn main() -> ExitCode {
    balancer::cli::main()
}
