//! One verb per file: its arguments, and what it does.

mod api_spec;
mod click;
mod clipboard;
mod clone;
mod command;
mod completions;
mod config;
mod console;
mod create;
mod delete;
mod doctor;
mod drive;
mod events;
mod export;
mod import;
mod inspect;
mod key;
mod list;
mod logs;
mod man;
mod media;
mod move_to;
mod pause;
mod rename;
mod reset;
mod restart;
mod resume;
mod screenshot;
mod send;
mod share;
mod start;
mod status;
mod stop;
mod type_text;
mod unregister;
mod usb;

use crate::context::Context;
use crate::error::Result;
use crate::output::Output;
use clap::Subcommand;

/// Every verb, in the order in which `viv help` shows them.
#[derive(Debug, Subcommand)]
#[allow(clippy::enum_variant_names, reason = "variants are named as the verbs are, and one of these is `command`")]
pub enum Command {
    List(list::Args),
    Create(Box<create::Args>),
    Import(Box<import::Args>),
    Export(export::Args),
    Inspect(inspect::Args),
    Config(config::Args),
    Drive(drive::Args),
    Clone(clone::Args),
    Rename(rename::Args),
    Move(move_to::Args),
    Delete(delete::Args),
    Unregister(unregister::Args),
    Start(start::Args),
    Stop(stop::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Restart(restart::Args),
    Reset(reset::Args),
    Status(status::Args),
    Console(console::Args),
    Screenshot(screenshot::Args),
    Type(type_text::Args),
    Key(key::Args),
    Click(click::Args),
    Media(media::Args),
    Share(share::Args),
    Send(send::Args),
    Clipboard(clipboard::Args),
    Usb(usb::Args),
    Command(command::Args),
    Logs(logs::Args),
    Events(events::Args),
    Doctor(doctor::Args),
    ApiSpec(api_spec::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
}

/// Does what was asked.
pub async fn run(command: Command, output: Output) -> Result {
    // These work where there is no home folder, too.
    let command = match command {
        Command::ApiSpec(args) => return api_spec::run(&args, output),
        Command::Completions(args) => return completions::run(&args, output),
        Command::Man(args) => return man::run(&args, output),
        Command::Doctor(args) => return doctor::run(&args, output).await,
        Command::Inspect(args) => return inspect::run(&args, output),
        other => other,
    };
    let context = &Context::open(output)?;
    match command {
        Command::List(args) => list::run(context, &args).await,
        Command::Create(args) => create::run(context, *args).await,
        Command::Import(args) => import::run(context, *args).await,
        Command::Export(args) => export::run(context, &args).await,
        Command::Config(args) => config::run(context, &args),
        Command::Drive(args) => drive::run(context, args).await,
        Command::Clone(args) => clone::run(context, &args).await,
        Command::Rename(args) => rename::run(context, &args),
        Command::Move(args) => move_to::run(context, &args).await,
        Command::Delete(args) => delete::run(context, &args).await,
        Command::Unregister(args) => unregister::run(context, &args),
        Command::Start(args) => start::run(context, &args).await,
        Command::Stop(args) => stop::run(context, &args).await,
        Command::Pause(args) => pause::run(context, &args).await,
        Command::Resume(args) => resume::run(context, &args).await,
        Command::Restart(args) => restart::run(context, &args).await,
        Command::Reset(args) => reset::run(context, &args).await,
        Command::Status(args) => status::run(context, &args).await,
        Command::Console(args) => console::run(context, &args).await,
        Command::Screenshot(args) => screenshot::run(context, &args).await,
        Command::Type(args) => type_text::run(context, &args).await,
        Command::Key(args) => key::run(context, &args).await,
        Command::Click(args) => click::run(context, &args).await,
        Command::Media(args) => media::run(context, &args).await,
        Command::Share(args) => share::run(context, &args).await,
        Command::Send(args) => send::run(context, args).await,
        Command::Clipboard(args) => clipboard::run(context, args).await,
        Command::Usb(args) => usb::run(context, &args).await,
        Command::Command(args) => command::run(context, &args).await,
        Command::Logs(args) => logs::run(context, &args).await,
        Command::Events(args) => events::run(context, &args).await,
        Command::ApiSpec(_) | Command::Completions(_) | Command::Man(_) | Command::Doctor(_) | Command::Inspect(_) => Ok(()),
    }
}
