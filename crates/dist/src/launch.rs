//! The group that a launcher's variables describe, as a function of the variables alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{Error, Result};

/// This process in the group that its launcher has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// The number of this process, from 0.
    pub rank: usize,
    /// The number of processes.
    pub size: usize,
    /// Its number on its machine: that of its GPU.
    pub local_rank: usize,
    /// Where the processes find each other; `None` for a process that works alone.
    pub rendezvous: Option<Rendezvous>,
    /// Begins the keys in the store, so that an earlier attempt leaves nothing behind.
    pub prefix: String,
}

/// Where processes find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendezvous {
    /// A store at this address.
    Tcp {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// Whether this process is the one that serves it.
        serves: bool,
    },
    /// A new file on a disk that all machines share.
    File(PathBuf),
}

/// The name of each launcher's variables for rank, size and rank on the machine.
struct Launcher {
    name: &'static str,
    rank: &'static str,
    size: &'static str,
    local: &'static str,
}

/// `RANK` and `WORLD_SIZE` hold wherever they are set. The others are set for any program inside an
/// allocation, so they hold where a group is asked for.
const LAUNCHERS: [Launcher; 4] = [
    Launcher {
        name: "torchrun's",
        rank: "RANK",
        size: "WORLD_SIZE",
        local: "LOCAL_RANK",
    },
    Launcher {
        name: "Open MPI's",
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        local: "OMPI_COMM_WORLD_LOCAL_RANK",
    },
    Launcher {
        name: "Hydra's",
        rank: "PMI_RANK",
        size: "PMI_SIZE",
        local: "MPI_LOCALRANKID",
    },
    Launcher {
        name: "Slurm's",
        rank: "SLURM_PROCID",
        size: "SLURM_NTASKS",
        local: "SLURM_LOCALID",
    },
];

/// Where a job's port comes from if nobody names one: one of 10,000 from here on.
const FIRST_PORT: u64 = 15_000;

impl World {
    /// A process that works alone.
    pub const ALONE: Self = Self {
        rank: 0,
        size: 1,
        local_rank: 0,
        rendezvous: None,
        prefix: String::new(),
    };

    /// The group that `variables` describe. Without `RANK` and `WORLD_SIZE`, the variables of Open
    /// MPI, Hydra and Slurm are read if `asked`; else the process works alone.
    ///
    /// # Errors
    /// [`Error::Variable`] for one that is missing or invalid, [`Error::Launchers`] if two launchers
    /// contradict each other.
    pub fn of(variables: &BTreeMap<String, String>, asked: bool) -> Result<Self> {
        let variables = Variables(variables);
        let places = LAUNCHERS
            .iter()
            .filter(|launcher| asked || launcher.rank == "RANK");
        let mut found = Vec::new();
        for launcher in places {
            found.extend(variables.place(launcher)?.map(|place| (launcher, place)));
        }
        let Some((launcher, place)) = found.first().copied() else {
            return match asked {
                false => Ok(Self::ALONE),
                true => Err(missing(
                    "RANK",
                    "a launcher's variables, such as RANK and WORLD_SIZE",
                )),
            };
        };
        // torchrun starts several processes in one task of Slurm.
        let nested = variables.get("TORCHELASTIC_RUN_ID").is_some();
        if let Some((other, differs)) = found
            .iter()
            .skip(1)
            .find(|(_, other)| !nested && (other.rank, other.size) != (place.rank, place.size))
        {
            let said = |launcher: &Launcher, place: &Place| {
                format!(
                    "{}={} of {}={}",
                    launcher.rank, place.rank, launcher.size, place.size
                )
            };
            return Err(Error::Launchers {
                first: said(launcher, &place),
                second: said(other, differs),
            });
        }
        if place.size == 1 {
            return Ok(Self {
                local_rank: place.local,
                ..Self::ALONE
            });
        }
        Ok(Self {
            rank: place.rank,
            size: place.size,
            local_rank: place.local,
            rendezvous: Some(variables.rendezvous(launcher, &place)?),
            prefix: variables.prefix(),
        })
    }
}

/// The rank, the size and the rank on the machine.
#[derive(Clone, Copy)]
struct Place {
    rank: usize,
    size: usize,
    local: usize,
}

struct Variables<'a>(&'a BTreeMap<String, String>);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str) -> Result<Option<usize>> {
        let value = self.get(name);
        value
            .map(|value| value.parse().map_err(|_| invalid(name, "a number", value)))
            .transpose()
    }

    fn place(&self, launcher: &Launcher) -> Result<Option<Place>> {
        let (rank, size) = match (self.number(launcher.rank)?, self.number(launcher.size)?) {
            (Some(rank), Some(size)) => (rank, size),
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                return Err(missing(
                    launcher.rank,
                    &format!("set beside {}", launcher.size),
                ));
            }
            (Some(_), None) => {
                return Err(missing(
                    launcher.size,
                    &format!("set beside {}", launcher.rank),
                ));
            }
        };
        if rank >= size {
            return Err(invalid(
                launcher.rank,
                &format!("below {}={size}", launcher.size),
                rank,
            ));
        }
        let local = self.number(launcher.local)?.unwrap_or(0);
        Ok(Some(Place { rank, size, local }))
    }

    fn rendezvous(&self, launcher: &Launcher, place: &Place) -> Result<Rendezvous> {
        if let Some(place) = self.get("DIST_RENDEZVOUS") {
            let path = place
                .strip_prefix("file://")
                .filter(|path| path.starts_with('/'));
            let path = path.ok_or_else(|| invalid("DIST_RENDEZVOUS", "file:///PATH", place))?;
            return Ok(Rendezvous::File(path.into()));
        }
        let job = self
            .get("SLURM_JOB_ID")
            .and_then(|id| id.parse::<u64>().ok());
        let port = match (self.get("MASTER_PORT"), job) {
            (Some(port), _) => {
                let valid = port.parse().ok().filter(|port| *port > 0);
                valid.ok_or_else(|| invalid("MASTER_PORT", "a port, 1 to 65535", port))?
            }
            (None, Some(job)) => u16::try_from(FIRST_PORT + job % 10_000).unwrap_or(u16::MAX),
            (None, None) if launcher.rank == "RANK" => {
                return Err(missing(
                    "MASTER_PORT",
                    "a free port of the machine of rank 0, or DIST_RENDEZVOUS=file:///PATH",
                ));
            }
            (None, None) => 29_500,
        };
        let one_machine = self
            .number("OMPI_COMM_WORLD_LOCAL_SIZE")?
            .or(self.number("MPI_LOCALNRANKS")?)
            == Some(place.size);
        let host = match (
            self.get("MASTER_ADDR"),
            self.get("SLURM_NODELIST")
                .or(self.get("SLURM_JOB_NODELIST")),
        ) {
            (Some(host), _) => host.to_owned(),
            (None, Some(nodes)) if launcher.rank == "SLURM_PROCID" => first_node(nodes)
                .ok_or_else(|| invalid("SLURM_NODELIST", "names of nodes", nodes))?,
            (None, _) if one_machine => "127.0.0.1".into(),
            (None, _) => {
                return Err(missing(
                    "MASTER_ADDR",
                    &format!(
                        "the machine of rank 0 ({} variables do not name it), or DIST_RENDEZVOUS=file:///PATH",
                        launcher.name
                    ),
                ));
            }
        };
        // torchrun's agent may serve the store already.
        let agent = self.get("TORCHELASTIC_USE_AGENT_STORE") == Some("True");
        Ok(Rendezvous::Tcp {
            host,
            port,
            serves: place.rank == 0 && !agent,
        })
    }

    fn prefix(&self) -> String {
        let names = [
            "TORCHELASTIC_RUN_ID",
            "TORCHELASTIC_RESTART_COUNT",
            "SLURM_JOB_ID",
            "SLURM_RESTART_COUNT",
        ];
        let values = names.iter().filter_map(|name| self.get(name));
        values.fold("dist".into(), |prefix: String, value| prefix + "/" + value)
    }
}

/// The first host of Slurm's list, such as `a003` of `a[003-010,012],b1`.
fn first_node(list: &str) -> Option<String> {
    let end = list.find([',', '[']).unwrap_or(list.len());
    let (name, rest) = list.split_at(end);
    let numbers = rest.strip_prefix('[').and_then(|rest| {
        let (inside, after) = rest.split_once(']')?;
        let first = inside.split([',', '-']).next()?;
        Some(format!(
            "{first}{}",
            after.split(',').next().unwrap_or_default()
        ))
    });
    let node = match rest.starts_with('[') {
        true => format!("{name}{}", numbers?),
        false => name.to_owned(),
    };
    (!node.is_empty()).then_some(node)
}

/// A part of work that processes share without talking to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The number of the part, from 0.
    pub index: usize,
    /// The number of parts.
    pub of: usize,
}

impl Share {
    /// `i/n`; `auto` for the index and the size of a Slurm array or of `RANK` and `WORLD_SIZE`; or
    /// `auto/n` for the index of one of `n` tasks of Slurm, Kubernetes (`JOB_COMPLETION_INDEX`) or
    /// HyperQueue (`HQ_TASK_ID`).
    ///
    /// # Errors
    /// [`Error::Variable`].
    pub fn of(text: &str, variables: &BTreeMap<String, String>) -> Result<Self> {
        let wrong = || invalid("share", "i/n with i from 0 to n - 1, auto or auto/n", text);
        let (index, of) = text
            .split_once('/')
            .map_or((text, None), |(index, of)| (index, Some(of)));
        let of: Option<usize> = of.map(|of| of.parse().map_err(|_| wrong())).transpose()?;
        let share = match (index, of) {
            ("auto", of) => {
                let (index, known) = Variables(variables).task()?;
                match of.or(known) {
                    Some(of) => Self { index, of },
                    None => {
                        return Err(invalid(
                            "share",
                            "auto/n, since the scheduler does not tell the number of tasks",
                            text,
                        ));
                    }
                }
            }
            (index, Some(of)) => Self {
                index: index.parse().map_err(|_| wrong())?,
                of,
            },
            (_, None) => return Err(wrong()),
        };
        match share.index < share.of {
            true => Ok(share),
            false => Err(invalid(
                "share",
                &format!("an index below {}", share.of),
                share.index,
            )),
        }
    }
}

impl Variables<'_> {
    /// The index of this task, and the number of tasks where it is known.
    fn task(&self) -> Result<(usize, Option<usize>)> {
        if let Some(id) = self.number("SLURM_ARRAY_TASK_ID")? {
            let first = self.number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let step = self.number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            let index = id
                .checked_sub(first)
                .ok_or_else(|| invalid("SLURM_ARRAY_TASK_ID", &format!("at least {first}"), id))?;
            return Ok((index / step, self.number("SLURM_ARRAY_TASK_COUNT")?));
        }
        for name in ["JOB_COMPLETION_INDEX", "HQ_TASK_ID"] {
            if let Some(index) = self.number(name)? {
                return Ok((index, None));
            }
        }
        let [first, ..] = &LAUNCHERS;
        match self.place(first)? {
            Some(place) => Ok((place.rank, Some(place.size))),
            None => Err(missing(
                "SLURM_ARRAY_TASK_ID",
                "it, JOB_COMPLETION_INDEX, HQ_TASK_ID, or RANK and WORLD_SIZE, for auto",
            )),
        }
    }
}

fn missing(name: &str, expected: &str) -> Error {
    invalid(name, expected, "nothing")
}

fn invalid(name: &str, expected: &str, got: impl ToString) -> Error {
    Error::Variable {
        name: name.into(),
        expected: expected.into(),
        got: got.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(text: &str) -> BTreeMap<String, String> {
        let pairs = text
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn of(text: &str) -> World {
        World::of(&set(text), true).unwrap()
    }

    fn refused(text: &str) -> String {
        World::of(&set(text), true).unwrap_err().to_string()
    }

    fn tcp(host: &str, port: u16, serves: bool) -> Option<Rendezvous> {
        Some(Rendezvous::Tcp {
            host: host.into(),
            port,
            serves,
        })
    }

    #[test]
    fn torchruns_variables_are_read_with_its_store() {
        let text = "RANK=3 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=node1 MASTER_PORT=29400 \
                    TORCHELASTIC_RUN_ID=abc TORCHELASTIC_RESTART_COUNT=2 SLURM_PROCID=1 SLURM_NTASKS=4 SLURM_JOB_ID=7";
        let world = of(text);
        assert_eq!((world.rank, world.size, world.local_rank), (3, 8, 1));
        assert_eq!(world.rendezvous, tcp("node1", 29400, false));
        assert_eq!(world.prefix, "dist/abc/2/7");
        let first = "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1";
        assert_eq!(of(first).rendezvous, tcp("a", 1, true));
        let agent = of(&format!("{first} TORCHELASTIC_USE_AGENT_STORE=True"));
        assert_eq!(agent.rendezvous, tcp("a", 1, false));
    }

    #[test]
    fn the_variables_of_mpi_and_slurm_hold_where_a_group_is_asked_for() {
        let open_mpi = "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1";
        assert_eq!(World::of(&set(open_mpi), false).unwrap(), World::ALONE);
        let near = of(&format!("{open_mpi} OMPI_COMM_WORLD_LOCAL_SIZE=2"));
        assert_eq!((near.rank, near.size, near.local_rank), (1, 2, 1));
        assert_eq!(near.rendezvous, tcp("127.0.0.1", 29500, false));
        let far = refused(&format!("{open_mpi} OMPI_COMM_WORLD_LOCAL_SIZE=1"));
        assert!(
            far.contains("MASTER_ADDR") && far.contains("Open MPI's"),
            "{far}"
        );

        let hydra = of("PMI_RANK=0 PMI_SIZE=2 MPI_LOCALRANKID=0 MPI_LOCALNRANKS=2");
        assert_eq!(hydra.rendezvous, tcp("127.0.0.1", 29500, true));

        let slurm = of(
            "SLURM_PROCID=5 SLURM_NTASKS=16 SLURM_LOCALID=1 SLURM_NODELIST=gpu[003-010,012] SLURM_JOB_ID=1234567",
        );
        assert_eq!((slurm.rank, slurm.size, slurm.local_rank), (5, 16, 1));
        assert_eq!(slurm.rendezvous, tcp("gpu003", 19567, false));
    }

    #[test]
    fn files_need_no_address() {
        let world = of("RANK=1 WORLD_SIZE=2 DIST_RENDEZVOUS=file:///tmp/here");
        assert_eq!(world.rendezvous, Some(Rendezvous::File("/tmp/here".into())));
        assert!(refused("RANK=1 WORLD_SIZE=2 DIST_RENDEZVOUS=/tmp/here").contains("file:///PATH"));
    }

    #[test]
    fn one_process_works_alone() {
        assert_eq!(World::of(&set(""), false).unwrap(), World::ALONE);
        let one = of("RANK=0 WORLD_SIZE=1");
        assert_eq!((one.size, one.rendezvous), (1, None));
    }

    #[test]
    fn wrong_variables_are_named() {
        for (text, named) in [
            ("", "RANK"),
            ("RANK=0", "WORLD_SIZE"),
            (
                "WORLD_SIZE=2",
                "RANK: expected set beside WORLD_SIZE, got nothing",
            ),
            (
                "RANK=2 WORLD_SIZE=2",
                "RANK: expected below WORLD_SIZE=2, got 2",
            ),
            ("RANK=one WORLD_SIZE=2", "RANK: expected a number, got one"),
            ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a", "MASTER_PORT"),
            ("RANK=0 WORLD_SIZE=2 MASTER_PORT=1", "MASTER_ADDR"),
            (
                "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=70000",
                "MASTER_PORT: expected a port",
            ),
            (
                "RANK=1 WORLD_SIZE=8 MASTER_ADDR=a MASTER_PORT=1 SLURM_PROCID=1 SLURM_NTASKS=2",
                "RANK=1 of WORLD_SIZE=8, but SLURM_PROCID=1 of SLURM_NTASKS=2",
            ),
            (
                "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 SLURM_PROCID=1 SLURM_NTASKS=2",
                "two launchers disagree",
            ),
        ] {
            let message = refused(text);
            assert!(message.contains(named), "{text}: {message}");
        }
    }

    #[test]
    fn nodes_are_read_as_slurm_writes_them() {
        for (list, first) in [
            ("n1", "n1"),
            ("n1,n2", "n1"),
            ("n[3,5-7]", "n3"),
            ("rack-[08-10]-gpu,x", "rack-08-gpu"),
        ] {
            assert_eq!(first_node(list).as_deref(), Some(first), "{list}");
        }
        assert_eq!(first_node("n[3"), None);
        assert_eq!(first_node(""), None);
    }

    #[test]
    fn shares_come_from_the_scheduler() {
        let share = |text: &str, variables: &str| {
            Share::of(text, &set(variables))
                .map(|s| (s.index, s.of))
                .map_err(|e| e.to_string())
        };
        assert_eq!(share("2/5", ""), Ok((2, 5)));
        assert_eq!(
            share(
                "auto",
                "SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_STEP=2 SLURM_ARRAY_TASK_COUNT=4"
            ),
            Ok((3, 4))
        );
        assert_eq!(share("auto", "RANK=1 WORLD_SIZE=3"), Ok((1, 3)));
        assert_eq!(share("auto/64", "JOB_COMPLETION_INDEX=63"), Ok((63, 64)));
        assert_eq!(share("auto/64", "HQ_TASK_ID=0"), Ok((0, 64)));
        for (text, variables) in [
            ("5/5", ""),
            ("x/5", ""),
            ("auto", ""),
            ("auto", "JOB_COMPLETION_INDEX=3"),
            ("auto/3", "HQ_TASK_ID=3"),
            ("3", ""),
            ("auto", "RANK=1"),
        ] {
            assert!(share(text, variables).is_err(), "{text} {variables}");
        }
    }
}
