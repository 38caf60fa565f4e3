//! Writes what bash, fish and zsh need to complete the command line into a folder, as files of a release:
//!
//!     cargo run --example completions -- FOLDER

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write},
};

use clap_complete::{Shell, generate_to};
use kubernetes_oom_event_generator::cli::command;

fn main() -> Result<(), Box<dyn Error>> {
    let folder =
        env::args_os().nth(1).ok_or("name the folder that the completions are to be written into")?;
    fs::create_dir_all(&folder)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let path = generate_to(shell, &mut command(), env!("CARGO_PKG_NAME"), &folder)?;
        writeln!(io::stdout(), "{}", path.display())?;
    }
    Ok(())
}
