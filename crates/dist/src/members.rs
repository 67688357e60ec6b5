//! A group of several processes on c10d.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use tch::{Device, Tensor};

use crate::c10d::{self, Backend, Said, Store, Work};
use crate::group::{Pending, Traffic, size_in_bytes};
use crate::watch::{Patience, Watch};
use crate::{Error, Group, Limits, Rendezvous, Result, Signals, World};

/// Between two looks for another member.
const LOOK: Duration = Duration::from_millis(20);
/// The looks between two signs of a member that waits for the others: a second.
const LOOKS_A_SIGN: u64 = 50;
/// The signs that may be missing, one after another, of a member that waits.
const MISSING_SIGNS: u32 = 6;

pub(crate) struct Members {
    rank: usize,
    size: usize,
    names: Vec<String>,
    gloo: Backend,
    #[cfg(feature = "nccl")]
    nccl: std::cell::OnceCell<Option<Backend>>,
    #[cfg(feature = "nccl")]
    patience: Duration,
    store: Store,
    served: bool,
    watch: Watch,
    meetings: Cell<u64>,
    traffic: RefCell<Traffic>,
}

/// The system's name of this machine.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Rendezvous {
    fn place(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } => format!("MASTER_ADDR={host}, MASTER_PORT={port}"),
            Self::File(path) => format!("DIST_RENDEZVOUS=file://{}", path.display()),
        }
    }

    fn store(&self, rank: usize, serves: bool, limit: Duration, prefix: &str) -> Result<Store> {
        let made = match self {
            Self::Tcp { host, port, .. } => Store::tcp(host, *port, serves, millis(limit), prefix),
            Self::File(path) => Store::file(&path.to_string_lossy(), millis(limit), prefix),
        };
        made.map_err(|reason| {
            let what_to_do = match self {
                Self::File(_) => format!("{reason}; the folder has to be writable, and shared by all machines"),
                Self::Tcp { port, .. } if reason.contains("EADDRINUSE") || reason.contains("in use") => {
                    format!("port {port} of this machine ({}) is in use; set another MASTER_PORT for every rank", host())
                }
                Self::Tcp { host: master, .. } if serves => format!("rank 0 ({}) cannot serve there: {reason}; MASTER_ADDR={master} has to be its machine", host()),
                Self::Tcp { .. } => format!(
                    "rank {rank} ({}) does not reach the store of rank 0 within {} s: rank 0 has not come, or another program has the port ({reason})",
                    host(),
                    limit.as_secs()
                ),
            };
            Error::Store { place: self.place(), reason: what_to_do }
        })
    }

    /// The address of this machine that others reach it by: the one from which it reaches the store.
    /// Nothing is sent. Empty for the one that the machine's name resolves to.
    fn address(&self, hosts: &[String]) -> String {
        let near = hosts.windows(2).all(|pair| pair.first() == pair.last());
        let towards = |host: &str, port: u16| {
            let target = (host, port).to_socket_addrs().ok()?.next()?;
            let any = if target.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(any).ok()?;
            socket.connect(target).ok()?;
            Some(socket.local_addr().ok()?.ip().to_string())
        };
        match self {
            Self::Tcp { host, port, .. } => towards(host, *port).unwrap_or_default(),
            Self::File(_) if near => "127.0.0.1".into(),
            Self::File(_) => String::new(),
        }
    }
}

impl Members {
    pub(crate) fn join(
        world: &World,
        rendezvous: &Rendezvous,
        limits: Limits,
        signals: Signals,
    ) -> Result<Self> {
        c10d::quiet();
        let (rank, size) = (world.rank, world.size);
        let (serves, served) = match rendezvous {
            Rendezvous::Tcp { serves, .. } => (*serves, true),
            Rendezvous::File(_) => (false, false),
        };
        let store = rendezvous.store(rank, serves, limits.join, &world.prefix)?;
        let came = Arrival {
            store: &store,
            rank,
            size,
            place: rendezvous.place(),
            limit: limits.join,
        };
        let members = came.wait()?;
        let names: Vec<String> = members
            .iter()
            .enumerate()
            .map(|(rank, (host, process))| format!("rank {rank} (host {host}, process {process})"))
            .collect();
        // Its calls may wait on the watch's behalf: a connection of its own.
        let of_watch = rendezvous.store(rank, false, limits.join, &world.prefix)?;
        let watch = Watch::start(
            of_watch,
            served,
            rank,
            names.clone(),
            limits.silence,
            signals,
        );
        let hosts: Vec<String> = members.into_iter().map(|(host, _)| host).collect();
        let address = rendezvous.address(&hosts);
        let made = Backend::gloo(&store, &address, rank, size, millis(limits.join));
        let gloo = made.and_then(|gloo| {
            gloo.patience(millis(limits.exchange))?;
            Ok(gloo)
        });
        let gloo = gloo.map_err(|reason| {
            let reason =
                format!("{reason}; this rank listens at {address}, which every other has to reach");
            watch.explain("connecting the ranks", reason)
        })?;
        Ok(Self {
            rank,
            size,
            names,
            gloo,
            #[cfg(feature = "nccl")]
            nccl: std::cell::OnceCell::new(),
            #[cfg(feature = "nccl")]
            patience: limits.exchange,
            store,
            served,
            watch,
            meetings: Cell::new(0),
            traffic: RefCell::default(),
        })
    }

    /// The engine for tensors of a device, and the device on which it exchanges them.
    fn backend(&self, device: Device) -> Result<(&Backend, Device)> {
        #[cfg(feature = "nccl")]
        if let Device::Cuda(index) = device {
            let nccl = match self.nccl.get() {
                Some(nccl) => nccl,
                None => {
                    let made = self.connect_gpus(index)?;
                    self.nccl.get_or_init(|| made)
                }
            };
            if let Some(nccl) = nccl {
                return Ok((nccl, device));
            }
        }
        let _ = device;
        Ok((&self.gloo, Device::Cpu))
    }

    /// NCCL, which takes one member a GPU; `None` if members share one. All call it at once.
    #[cfg(feature = "nccl")]
    fn connect_gpus(&self, index: usize) -> Result<Option<Backend>> {
        let explain = |reason| self.watch.explain("connecting the GPUs", reason);
        let gpus = self.gather_bytes(&c10d::gpu(index).map_err(explain)?)?;
        let distinct: BTreeSet<&Vec<u8>> = gpus.iter().collect();
        if distinct.len() < self.size {
            return Ok(None);
        }
        let made = Backend::nccl(&self.store, self.rank, self.size, millis(self.patience));
        made.map(Some).map_err(explain)
    }

    fn begin(
        &self,
        op: &'static str,
        own: &Tensor,
        out: Vec<i64>,
        sent: u64,
        run: impl Fn(&Backend, &Tensor, &Tensor) -> Said<Work>,
    ) -> Result<Sent<'_>> {
        let _guard = tch::no_grad_guard();
        let began = Instant::now();
        let there = own.device();
        let (backend, place) = self.backend(there)?;
        let own = own.detach().to_device(place).contiguous();
        let out = Tensor::f_zeros(&out, (own.kind(), place))?;
        let work = run(backend, &out, &own).map_err(|reason| self.watch.explain(op, reason))?;
        let mut traffic = self.traffic.borrow_mut();
        traffic.bytes += sent;
        traffic.seconds += began.elapsed().as_secs_f64();
        Ok(Sent {
            members: self,
            op,
            work,
            _own: own,
            out,
            there,
        })
    }
}

/// An exchange under way.
struct Sent<'a> {
    members: &'a Members,
    op: &'static str,
    work: Work,
    /// Read until the exchange has ended.
    _own: Tensor,
    out: Tensor,
    there: Device,
}

impl Pending for Sent<'_> {
    fn wait(self: Box<Self>) -> Result<Tensor> {
        let began = Instant::now();
        let lost = |reason| self.members.watch.explain(self.op, reason);
        self.work.wait().map_err(lost)?;
        let out = self.out.f_to_device(self.there)?;
        self.members.traffic.borrow_mut().seconds += began.elapsed().as_secs_f64();
        Ok(out)
    }
}

/// The members' way into the store.
struct Arrival<'a> {
    store: &'a Store,
    rank: usize,
    size: usize,
    place: String,
    limit: Duration,
}

impl Arrival<'_> {
    /// Waits for all; their hosts and processes.
    fn wait(&self) -> Result<Vec<(String, String)>> {
        let lost = |reason: String| Error::Store {
            place: self.place.clone(),
            reason: format!(
                "the store is gone while the ranks gather ({reason}): rank 0 has ended"
            ),
        };
        let own = format!(
            "rank {} (host {}, process {})",
            self.rank,
            host(),
            std::process::id()
        );
        if self
            .store
            .add(&format!("came/{}", self.rank), 1)
            .map_err(lost)?
            > 1
        {
            return self.refuse(format!(
                "{own} is not the only rank {}: two processes have the same rank, or {} was used before",
                self.rank, self.place
            ));
        }
        if self.rank == 0 {
            self.store
                .set("size", &self.size.to_string())
                .map_err(lost)?;
        }
        let here = format!("{}\t{}", host(), std::process::id());
        self.store
            .set(&format!("here/{}", self.rank), &here)
            .map_err(lost)?;
        let mut time = Patience::new(self.limit);
        let mut there: BTreeMap<usize, (String, String)> = BTreeMap::new();
        let mut begin = BTreeSet::new();
        // Each member's last sign that it waits, and how often it was looked at since.
        let mut signs: BTreeMap<usize, (Option<String>, u32)> = BTreeMap::new();
        for look in 0u64.. {
            if let Some(reason) = self.store.get("refused").map_err(lost)? {
                return Err(Error::World(reason));
            }
            if let Some(missing) = self.store.get("absent").map_err(lost)? {
                return Err(self.absent(missing));
            }
            let size = self.store.get("size").map_err(lost)?;
            if let Some(size) = size.filter(|size| *size != self.size.to_string()) {
                return self.refuse(format!(
                    "{own} is one of {}, rank 0 one of {size}; start all with one number of ranks",
                    self.size
                ));
            }
            for rank in 0..self.size {
                if there.contains_key(&rank) {
                    continue;
                }
                if let Some(member) = self.store.get(&format!("here/{rank}")).map_err(lost)? {
                    let (host, process) = member.split_once('\t').unwrap_or_default();
                    there.insert(rank, (host.into(), process.into()));
                }
            }
            // One that refuses the group has come, and does not begin.
            if there.len() == self.size && self.all_begin(&mut begin).map_err(lost)? {
                return Ok(there.into_values().collect());
            }
            if look.is_multiple_of(LOOKS_A_SIGN) {
                let sign = |rank: usize| format!("waits/{rank}");
                self.store.add(&sign(self.rank), 1).map_err(lost)?;
                for (rank, (host, process)) in &there {
                    let now = self.store.get(&sign(*rank)).map_err(lost)?;
                    let (last, missing) = signs.entry(*rank).or_default();
                    *missing = if now == *last { *missing + 1 } else { 0 };
                    *last = now;
                    if *missing > MISSING_SIGNS {
                        return self.refuse(format!(
                            "rank {rank} (host {host}, process {process}) came, and ended before all had come"
                        ));
                    }
                }
            }
            if !time.is_left() {
                break;
            }
            std::thread::sleep(LOOK);
        }
        let missing = (0..self.size).filter(|rank| match there.len() == self.size {
            true => !begin.contains(rank),
            false => !there.contains_key(rank),
        });
        let missing: Vec<String> = missing.map(|rank| format!("rank {rank}")).collect();
        let missing = missing.join(", ");
        self.tell("absent", &missing);
        Err(self.absent(missing))
    }

    /// Whether all members have seen all others; those that have are added.
    fn all_begin(&self, begin: &mut BTreeSet<usize>) -> Said<bool> {
        let key = |rank: usize| format!("begins/{rank}");
        if begin.insert(self.rank) {
            self.store.set(&key(self.rank), "1")?;
        }
        for rank in 0..self.size {
            if !begin.contains(&rank) && self.store.get(&key(rank))?.is_some() {
                begin.insert(rank);
            }
        }
        Ok(begin.len() == self.size)
    }

    fn absent(&self, missing: String) -> Error {
        Error::Absent {
            missing,
            size: self.size,
            seconds: self.limit.as_secs(),
            place: self.place.clone(),
        }
    }

    /// Refuses the group, for every member.
    fn refuse<T>(&self, reason: String) -> Result<T> {
        self.tell("refused", &reason);
        Err(Error::World(reason))
    }

    /// Tells the others why the group ends.
    fn tell(&self, key: &str, reason: &str) {
        if self.store.set(key, reason).is_ok() {
            // Time for the others to read it from a store that ends with this process.
            std::thread::sleep(LOOK * 25);
        }
    }
}

impl Group for Members {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn member(&self, rank: usize) -> String {
        self.names.get(rank).cloned().unwrap_or_default()
    }

    fn all_gather(&self, own: &Tensor) -> Result<Tensor> {
        self.begin_all_gather(own)?.wait()
    }

    fn all_to_all(&self, rows: &Tensor) -> Result<Tensor> {
        self.begin_all_to_all(rows)?.wait()
    }

    fn begin_all_gather<'a>(&'a self, own: &Tensor) -> Result<Box<dyn Pending + 'a>> {
        let mut size = own.size();
        size.insert(0, self.size as i64);
        let sent = size_in_bytes(own) * (self.size as u64 - 1);
        // The engine wants the members' rows end to end.
        let flat = own.f_reshape([-1])?;
        let room = vec![flat.numel() as i64 * self.size as i64];
        let mut begun = self.begin("gathering", &flat, room, sent, Backend::all_gather)?;
        begun.out = begun.out.f_view(size.as_slice())?;
        Ok(Box::new(begun))
    }

    fn begin_all_to_all<'a>(&'a self, rows: &Tensor) -> Result<Box<dyn Pending + 'a>> {
        let size = self.size as u64;
        let sent = size_in_bytes(rows) / size * (size - 1);
        let all_to_all = Backend::all_to_all;
        let begun = self.begin("exchanging parts", rows, rows.size(), sent, all_to_all)?;
        Ok(Box::new(begun))
    }

    fn sum(&self, own: &Tensor) -> Result<Tensor> {
        let size = self.size as u64;
        let sent = size_in_bytes(own) * 2 * (size - 1) / size;
        let begun = self.begin("adding up", own, own.size(), sent, |backend, out, own| {
            tch::no_grad(|| out.shallow_clone().copy_(own));
            backend.all_reduce(out)
        })?;
        Box::new(begun).wait()
    }

    fn claim(&self, what: &str) -> Result<bool> {
        let count = self.store.add(&format!("claim/{what}"), 1);
        Ok(count.map_err(|reason| self.watch.explain("the store", reason))? == 1)
    }

    fn meet(&self) -> Result<()> {
        let number = self.meetings.replace(self.meetings.get() + 1);
        let lost = |reason: String| self.watch.explain("the store", reason);
        let came = self
            .store
            .add(&format!("meeting/{number}"), 1)
            .map_err(lost)?;
        let all = format!("met/{number}");
        if came == self.size as i64 {
            self.store.set(&all, "1").map_err(lost)?;
        }
        while !self.store.has(&all).map_err(lost)? {
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn fail(&self, reason: &str) {
        self.watch.fail(reason);
    }

    fn leave(&self) -> Result<()> {
        self.meet()?;
        self.watch.stop();
        // From here on a member may be gone, which is no loss; the store goes last.
        let mut done = self.store.add("done", 1);
        if self.served && self.rank == 0 {
            let mut time = Patience::new(Duration::from_secs(10));
            while time.is_left() && done.is_ok_and(|done| done < self.size as i64) {
                std::thread::sleep(LOOK);
                done = self.store.add("done", 0);
            }
        }
        Ok(())
    }

    fn traffic(&self) -> Traffic {
        *self.traffic.borrow()
    }
}
