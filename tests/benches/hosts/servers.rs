//! Servers that have the Python inside: uwsgi, Apache with mod_wsgi, gunicorn, celery.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::host::{Ask, Expected, Host, sources};
use crate::rows::Row;

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Two workers, forked by a master that has loaded libpython through a plugin.
pub fn uwsgi(row: &Row) -> Result<Host, String> {
    let scratch = sources();
    let socket = scratch.path().join("socket");
    let mut command = row.command();
    command.args([
        "--plugin",
        "python3",
        "--master",
        "--processes",
        "2",
        "--enable-threads",
        "--die-on-term",
    ]);
    command.args(["--no-orphans", "--disable-logging", "--http-socket", text(&socket)]);
    command.args(["--pythonpath", text(scratch.path()), "--module", "work"]).stderr(Stdio::null());
    let expected = Expected { name: "uwsgi-core", workers: 2, ..Expected::default() };
    Ok(Host::start(command, scratch, Ask::Unix(socket), expected))
}

/// The script is `gunicorn`, and it has replaced its name by one in a sentence when it can.
pub fn gunicorn(row: &Row) -> Result<Host, String> {
    let scratch = sources();
    let socket = scratch.path().join("socket");
    let mut command = row.command();
    command.args(["--workers", "2", "--bind", &format!("unix:{}", text(&socket)), "--log-level", "error"]);
    command.args(["--chdir", text(scratch.path()), "work:application"]);
    let expected = Expected { name: "gunicorn", workers: 2, ..Expected::default() };
    Ok(Host::start(command, scratch, Ask::Unix(socket), expected))
}

/// Where Debian's Apache has what it loads.
const MODULES: &str = "/usr/lib/apache2/modules";
/// Children; two requests at a time leave some of them without any.
const CHILDREN: usize = 4;
/// Files in a directory that Apache lists, which takes a child a while.
const LISTED: usize = 2000;

/// Every child that serves a request runs Python itself.
pub fn embedded(row: &Row) -> Result<Host, String> {
    apache(row, "WSGIScriptAlias / APP\n")
        .map(|host| host.expecting(Expected { name: "apache2", workers: 2, ..Expected::default() }))
}

/// Python runs in processes of its own, and the children map it for nothing, however busy they are.
pub fn daemon(row: &Row) -> Result<Host, String> {
    let configuration = "LoadModule autoindex_module MODULES/mod_autoindex.so\n\
                         LoadModule alias_module MODULES/mod_alias.so\n\
                         Alias /listed DIRECTORY/listed\n\
                         <Directory DIRECTORY/listed>\nOptions +Indexes\nRequire all granted\n</Directory>\n\
                         WSGIRestrictEmbedded On\n\
                         WSGIDaemonProcess work processes=2 threads=1\n\
                         WSGIProcessGroup work\n\
                         WSGIScriptAlias /work APP\n";
    let mut host = apache(row, configuration)?;
    let listed = host.scratch.path().join("listed");
    std::fs::create_dir(&listed).map_err(|error| error.to_string())?;
    for number in 0..LISTED {
        std::fs::write(listed.join(format!("file-{number}")), "").map_err(|error| error.to_string())?;
    }
    host.prefix = "/work";
    host.busy_work = Some("/listed/?C=S;O=D".to_owned());
    Ok(host.expecting(Expected {
        name: "apache2",
        workers: 2,
        others: CHILDREN,
        others_without_python: true,
        ..Expected::default()
    }))
}

fn apache(row: &Row, more: &str) -> Result<Host, String> {
    let scratch = sources();
    let directory = text(scratch.path());
    // It runs its children as another user, who has to get at the work.
    let readable = std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755));
    readable.map_err(|error| error.to_string())?;
    // Free a moment ago; nobody else on a machine that measures takes ports in such numbers.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = free.map_err(|error| format!("no port: {error}"))?.port();
    let configuration = format!(
        "ServerRoot DIRECTORY\nServerName localhost\nPidFile DIRECTORY/pid\nErrorLog DIRECTORY/log\n\
         Listen 127.0.0.1:{port}\nDefaultRuntimeDir DIRECTORY\nMutex pthread\n\
         User www-data\nGroup www-data\n\
         LoadModule mpm_prefork_module MODULES/mod_mpm_prefork.so\n\
         LoadModule authz_core_module MODULES/mod_authz_core.so\n\
         LoadModule wsgi_module MODULES/mod_wsgi.so\n\
         StartServers {CHILDREN}\nMinSpareServers 1\nMaxSpareServers {CHILDREN}\n\
         WSGISocketPrefix DIRECTORY/wsgi\nWSGIPythonPath DIRECTORY\n\
         <Directory DIRECTORY>\nRequire all granted\n</Directory>\n{more}"
    );
    let configuration = configuration
        .replace("APP", "DIRECTORY/work.py")
        .replace("DIRECTORY", directory)
        .replace("MODULES", MODULES);
    let file = scratch.path().join("apache.conf");
    std::fs::write(&file, configuration).map_err(|error| error.to_string())?;
    let mut command = row.command();
    command.args(["-d", directory, "-f", text(&file), "-DFOREGROUND", "-k", "start"]);
    Ok(Host::start(command, scratch, Ask::Tcp(port), Expected::default()))
}

/// A worker with two children, and a client that fills its queue: a directory.
pub fn celery(row: &Row) -> Result<Host, String> {
    let scratch = sources();
    std::fs::create_dir_all(scratch.path().join("queue/control")).map_err(|error| error.to_string())?;
    let mut client = row.command();
    client.arg("tasks.py").current_dir(scratch.path());
    let mut worker = row.command();
    worker.args(["-m", "celery", "-q", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2"]);
    worker.args(["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]);
    worker.current_dir(scratch.path()).env("C_FORCE_ROOT", "1");
    let expected = Expected { name: "celery", workers: 2, ..Expected::default() };
    Ok(Host::start(worker, scratch, Ask::File, expected).told_by(client))
}
