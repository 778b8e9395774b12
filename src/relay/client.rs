//! The program `openclaw` inside of a run: hands its words to the daemon, and says what comes back.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::net::UnixStream,
    process::ExitCode,
};

use super::{
    NAME, VARIABLE,
    frame::{Call, Piece},
};

/// Runs the command line on the tenant's instance; the exit code is the one that it ends with there.
pub(crate) fn main(argv: &[OsString]) -> ExitCode {
    match run(argv) {
        // What a process can end with.
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(why) => {
            // A closed stderr has nobody to tell.
            let _ = writeln!(io::stderr(), "{NAME}: {why}");
            ExitCode::from(1)
        }
    }
}

fn run(argv: &[OsString]) -> Result<i32, String> {
    let socket = std::env::var_os(VARIABLE).ok_or_else(|| {
        format!("this is ccgw's relay to an instance, and {VARIABLE} is not set: it works in a run of ccgw's only")
    })?;
    let word = |it: &OsString| {
        let word = it.clone().into_string();
        word.map_err(|it| format!("{} is not UTF-8", it.display()))
    };
    let words = argv.iter().map(word).collect::<Result<_, _>>()?;
    let failed = |it: io::Error| format!("the gateway does not answer: {it}");
    let mut stream = UnixStream::connect(&socket).map_err(failed)?;
    match (Call { words }).write(&mut stream) {
        // It may have been refused before it was heard: why is there to be read.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
        _ => {}
    }
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    loop {
        let said = match Piece::read(&mut stream).map_err(failed)? {
            Piece::Stdout(bytes) => stdout.write_all(&bytes).and_then(|()| stdout.flush()),
            Piece::Stderr(bytes) => stderr.write_all(&bytes),
            Piece::Exit(code) => return Ok(code),
        };
        // Whoever read it has left.
        said.map_err(|it| it.to_string())?;
    }
}
