//! What stands between a run and its sources: nothing, recorders, or a recording in their place.

use tidewatch::cluster::Cluster;
use tidewatch::job::Job;
use tidewatch::Error;
use tidewatch_connectors::recording::{Part, Play, Recorded, Recorder, Recording};
use tidewatch_connectors::Input;

/// Clusters here are of threads, so that one of these serves all processes.
#[derive(Clone, Default)]
pub(crate) enum Tape {
    #[default]
    None,
    /// The recorder of each process.
    Record(Vec<Recorder>),
    Replay(Recording),
}

impl Tape {
    /// Recorders for the processes of a run, which write the recording at `path`.
    pub(crate) fn record(path: &str, processes: usize) -> Self {
        let of = processes as u32;
        let create = |index| Recorder::create_part(path, Part { index, of }).expect("it is new");
        Self::Record((0..of).map(create).collect())
    }

    /// Closes what was recorded; says what each process has recorded.
    pub(crate) fn finish(&self) -> Result<Vec<Recorded>, Error> {
        match self {
            Self::Record(recorders) => recorders.iter().map(|recorder| Ok(recorder.finish()?)).collect(),
            _ => Ok(Vec::new()),
        }
    }

    /// Closes what was recorded, to be replayed.
    pub(crate) fn rewind(self, path: &str) -> Result<Self, Error> {
        self.finish()?;
        Self::play(path)
    }

    /// Replays a recording that is whole.
    pub(crate) fn play(path: &str) -> Result<Self, Error> {
        let recording = Recording::open(path)?;
        assert!(recording.damages().is_empty(), "{:?}", recording.damages());
        Ok(Self::Replay(recording))
    }

    /// The job, as one of the processes runs it.
    pub(crate) fn job(&self, job: &Job, cluster: &Cluster) -> Result<Job, Error> {
        match self {
            Self::None => Ok(job.clone()),
            Self::Record(recorders) => Ok(job.recorded(&recorders[cluster.index()])),
            Self::Replay(recording) => {
                Ok(job.replayed(recording, &Play::all())?.referring(recording.editions()?))
            }
        }
    }

    /// The input, as one of the processes reads it; its records are rows.
    pub(super) fn input(&self, input: &Input, cluster: &Cluster) -> Result<Input, Error> {
        match self {
            Self::None => Ok(input.clone()),
            Self::Record(recorders) => Ok(recorders[cluster.index()].record(input.clone(), 0)),
            Self::Replay(recording) => Ok(recording.replay(input.clone(), &Play::all(), 0)?),
        }
    }
}
