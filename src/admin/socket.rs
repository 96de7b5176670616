//! The admin socket: where it lies, how it is made, and who is at its other end.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use socket2::{Domain, SockAddr, Type};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::config::model::Admin;
use crate::event::Actor;

const VARIABLE: &str = "OSTLER_SOCKET";
const NAME: &str = "admin.sock";
const SYSTEM: &str = "/run/ostler";
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// Where to look for a running process, in this order: the named place, the one that the named file
/// says, the one of the environment, the one that the file says which was `found`, the default
/// places. What somebody has typed goes before what is about.
pub fn places(named: Option<&Path>, file: Option<&Path>, found: Option<&Path>) -> Vec<PathBuf> {
    place_of(named, file, of_environment(), found).map_or_else(default_places, |place| vec![place])
}

fn place_of(
    named: Option<&Path>,
    file: Option<&Path>,
    environment: Option<PathBuf>,
    found: Option<&Path>,
) -> Option<PathBuf> {
    named
        .map(Path::to_owned)
        .or_else(|| file.and_then(of_file))
        .or(environment)
        .or_else(|| found.and_then(of_file))
}

/// What `OSTLER_SOCKET` says.
pub fn of_environment() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// What a file says, which may be broken elsewhere. Whoever cannot read it goes on without.
fn of_file(path: &Path) -> Option<PathBuf> {
    if fs::metadata(path).ok()?.len() > config::defaults::MAX_FILE {
        return None;
    }
    let socket = config::peek_socket(&fs::read_to_string(path).ok()?)?;
    let folder = std::path::absolute(path).ok()?.parent()?.to_owned();
    Some(folder.join(socket))
}

fn default_places() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from(SYSTEM).join(NAME)];
    places.extend(runtime_folder().map(|folder| folder.join(NAME)));
    let folder = temporary_folder();
    // Where somebody else made it, somebody else would answer.
    if !folder.exists() || private(&folder).is_ok() {
        places.push(folder.join(NAME));
    }
    places
}

fn runtime_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty())?;
    Some(PathBuf::from(folder).join("ostler"))
}

fn temporary_folder() -> PathBuf {
    std::env::temp_dir().join(format!("ostler-{}", rustix::process::geteuid().as_raw()))
}

/// A socket for a second process of this user where another one answers at a default place, so
/// that a demo can run beside it; `None` where the default places will do.
pub fn beside_a_running_one() -> Option<PathBuf> {
    let taken = default_places().iter().any(|place| UnixStream::connect(place).is_ok());
    let folder = taken.then(own_folder)?.ok()?;
    Some(folder.join(format!("{}.sock", std::process::id())))
}

/// A folder of the system's temporary one that belongs to this user alone, made if it is not
/// there.
///
/// # Errors
/// Where it cannot be made, or is somebody else's.
pub fn own_folder() -> io::Result<PathBuf> {
    let folder = temporary_folder();
    make(&folder, 0o700)?;
    private(&folder)?;
    Ok(folder)
}

/// The admin socket of this process, listened on. Its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: SocketFile,
    closing: CancellationToken,
}

impl Socket {
    /// Makes the socket: where the command line says, else the file, else the environment, else at
    /// the first default place that can be used. It has its mode and group before anybody can
    /// connect.
    ///
    /// # Errors
    /// Where another process answers, where something else lies there, or where the system says
    /// no.
    pub fn bind(named: Option<&Path>, admin: &Admin) -> io::Result<Self> {
        let in_file = admin.socket.as_ref().map(|socket| socket.value.as_path());
        let place = own_place(named, in_file, of_environment());
        bind(place.as_deref(), admin.socket_mode, admin.socket_group.as_deref())
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Cancelled at the end of the process: running answers go out, then
    /// [`super::serve_socket`] is over.
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// For the runtime that serves it.
    pub(super) fn into_parts(
        self,
    ) -> io::Result<(tokio::net::UnixListener, CancellationToken, SocketFile)> {
        self.listener.set_nonblocking(true)?;
        Ok((tokio::net::UnixListener::from_std(self.listener)?, self.closing, self.file))
    }
}

/// The variable is for commands, so it goes last: a shell that has it set would else start every
/// process at one place, whatever their files say.
fn own_place(
    named: Option<&Path>,
    in_file: Option<&Path>,
    environment: Option<PathBuf>,
) -> Option<PathBuf> {
    named.or(in_file).map(Path::to_owned).or(environment)
}

/// The socket's file, removed at the end if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // Whoever finds it later sees that nobody answers.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind(configured: Option<&Path>, mode: u32, group: Option<&str>) -> io::Result<Socket> {
    let path = match configured {
        Some(path) => std::path::absolute(path)?,
        None => place()?,
    };
    let wrong = |error: io::Error| {
        io::Error::new(error.kind(), format!("admin socket {}: {error}", path.display()))
    };
    make_way(&path).map_err(wrong)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let draft = folder.join(format!(".{}", std::process::id()));
    let bound = prepare(&draft, &path, mode, group);
    if bound.is_err() {
        let _ = fs::remove_file(&draft);
    }
    bound.map_err(wrong)
}

/// Listens under another name first, then puts it into its place at once.
fn prepare(draft: &Path, path: &Path, mode: u32, group: Option<&str>) -> io::Result<Socket> {
    let _ = fs::remove_file(draft);
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The address is checked before the file is made.
    SockAddr::unix(path)?;
    socket.bind(&SockAddr::unix(draft)?)?;
    if let Some(group) = group {
        let group = rustix::fs::Gid::from_raw(group_id(group)?);
        rustix::fs::chown(draft, None, Some(group))?;
    }
    fs::set_permissions(draft, fs::Permissions::from_mode(mode & 0o777))?;
    socket.listen(BACKLOG)?;
    fs::rename(draft, path)?;
    let listener = UnixListener::from(std::os::fd::OwnedFd::from(socket));
    let file = SocketFile { path: path.to_owned(), inode: inode(path)? };
    Ok(Socket { listener, file, closing: CancellationToken::new() })
}

/// The first default place whose folder can be written.
fn place() -> io::Result<PathBuf> {
    let writable = |folder: &Path| rustix::fs::access(folder, Access::WRITE_OK).is_ok();
    let system = Path::new(SYSTEM);
    if (make(system, 0o755).is_ok() || system.is_dir()) && writable(system) {
        return Ok(system.join(NAME));
    }
    if let Some(folder) = runtime_folder()
        && make(&folder, 0o700).is_ok()
        && writable(&folder)
    {
        return Ok(folder.join(NAME));
    }
    Ok(own_folder()?.join(NAME))
}

/// Removes what a process that is gone has left; anything else stays, and is an error.
fn make_way(path: &Path) -> io::Result<()> {
    let Ok(facts) = fs::symlink_metadata(path) else { return Ok(()) };
    if !facts.file_type().is_socket() {
        let text = "something that is no socket lies there: move it away";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(_) | Err(_) => {
            let text = "another Ostler answers there: stop it (`ostler stop`), or name another \
                        socket with --socket or admin.socket";
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
    }
}

fn make(folder: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Whether a folder is a real one, ours, and closed to others.
fn private(folder: &Path) -> io::Result<()> {
    let facts = fs::symlink_metadata(folder)?;
    let ours = facts.uid() == rustix::process::geteuid().as_raw();
    let others = facts.mode() & 0o077;
    if facts.is_dir() && ours && others == 0 {
        return Ok(());
    }
    let text = format!("{} is not a folder of this user alone (mode 0700)", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|facts| (facts.dev(), facts.ino()))
}

/// A group's number, by number or by its name in `/etc/group`.
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let known = fs::read_to_string("/etc/group").unwrap_or_default();
    group_in(&known, group).ok_or_else(|| {
        let text = format!("socket_group: /etc/group has no group {group}");
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}

fn group_in(known: &str, group: &str) -> Option<u32> {
    known.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// Who connected, by the kernel's word.
pub(super) fn peer(stream: &tokio::net::UnixStream) -> Actor {
    Actor(match stream.peer_cred() {
        Ok(peer) => match peer.pid() {
            Some(pid) => format!("uid {} pid {pid}", peer.uid()),
            None => format!("uid {}", peer.uid()),
        },
        Err(_) => "the admin socket".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_serves_where_its_file_says_before_the_environment() {
        let (named, file) = (Path::new("/a"), Path::new("/b"));
        let environment = || Some(PathBuf::from("/c"));
        let place = |named, file| own_place(named, file, environment()).unwrap();
        assert_eq!(place(Some(named), Some(file)), named);
        assert_eq!(place(None, Some(file)), file);
        assert_eq!(place(None, None), Path::new("/c"));
    }

    #[test]
    fn a_socket_is_its_owners_alone_and_goes_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let bound = bind(Some(&path), 0o600, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        UnixStream::connect(&path).unwrap();
        let second = bind(Some(&path), 0o600, None).unwrap_err();
        assert!(second.to_string().contains("another Ostler answers"), "{second}");
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(bind(Some(&path), 0o660, None).unwrap());
        fs::write(&path, "letters").unwrap();
        assert!(bind(Some(&path), 0o600, None).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "letters");
    }

    #[test]
    fn a_socket_that_another_process_took_over_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let bound = bind(Some(&path), 0o600, None).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists());
    }

    #[test]
    fn the_file_says_where_even_if_it_is_broken_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ostler.toml");
        fs::write(&file, "nonsense = 1\n[admin]\nsocket = \"run/a.sock\"\n").unwrap();
        assert_eq!(of_file(&file).unwrap(), folder.path().join("run/a.sock"));
        assert_eq!(of_file(Path::new("/no/such/file")), None);
    }

    #[test]
    fn what_was_typed_goes_before_the_environment_and_that_before_what_lies_about() {
        let folder = tempfile::tempdir().unwrap();
        let (file, silent) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
        fs::write(&file, "[admin]\nsocket = \"/b\"\n").unwrap();
        fs::write(&silent, "").unwrap();
        let of = |named: Option<&str>, file, found| {
            place_of(named.map(Path::new), file, Some("/c".into()), found).unwrap()
        };
        assert_eq!(of(Some("/a"), Some(&*file), None), Path::new("/a"));
        assert_eq!(of(None, Some(&*file), None), Path::new("/b"));
        assert_eq!(of(None, Some(&*silent), None), Path::new("/c"));
        assert_eq!(of(None, None, Some(&*file)), Path::new("/c"));
        assert_eq!(place_of(None, None, None, Some(&file)).unwrap(), Path::new("/b"));
        assert_eq!(place_of(None, Some(&silent), None, None), None);
    }

    #[test]
    fn a_group_is_found_by_its_name() {
        let known = "root:x:0:\nadm:x:4:me,you\n";
        assert_eq!(group_in(known, "adm"), Some(4));
        assert_eq!(group_in(known, "ad"), None);
        assert!(group_id("no-such-group-here").is_err());
        assert_eq!(group_id("4").unwrap(), 4);
    }
}
