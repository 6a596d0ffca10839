//! `vivarium-exchange`: speaks SPICE with one machine for its supervisor.
//!
//! It parses what a guest says, in C, so it is a process of its own: confined to its two sockets, the files that are on their way, and the
//! folder that the guest may read. It is started by the supervisor, and ends with it, with the machine, or when it is told nothing more.

#[cfg(target_os = "linux")]
mod descriptors;
#[cfg(target_os = "linux")]
mod serve;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    let served = descriptors::take().and_then(|(control, connections)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve::serve(control, connections))
    });
    match served {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("vivarium-exchange is for Linux");
    std::process::ExitCode::FAILURE
}
