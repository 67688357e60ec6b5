//! A video, its features by CLIP, the paper's blocks on top of them, trained for some steps, and
//! a recogniser's answer: by the crates' interfaces alone.

use std::error::Error;
use std::path::{Path, PathBuf};

use clip_backbone::pixels::{Picture, Resizer};
use clip_backbone::{Checkpoint, ClipModel, Preprocess, Usage};
use clips::{Precision, VideoFiles};
use mcb::{CommunicationBlock, McbConfig, VideoTokens};
use motion::{MotionConfig, MotionModellingBlock};
use prompts::{
    AdapterConfig, ClassTokens, MotionAdapter, PromptLearner, TextEncoder, TextEncoding, Tokenize,
};
use recogniser::{DEFAULT_TEMPLATE, Labels, Recogniser, decode_ahead, templates};
use tch::nn::{OptimizerConfig, VarStore, sgd};
use tch::{Kind, Tensor};
use video::{Frame, Limits, Video, write_clip};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const LABELS: [&str; 3] = ["moving right", "moving up", "growing"];
/// T, the frames of the video.
const FRAMES: usize = 8;
/// H, the prompt vectors.
const PROMPTS: i64 = 4;

fn main() -> Result<()> {
    let video = std::env::temp_dir().join(format!("outside-{}.avi", std::process::id()));
    write_clip(&video, &frames(), 10)?;
    // A server would do the same: the thread that answers builds the model and owns it.
    let path = video.clone();
    let worker = std::thread::spawn(move || -> Result<()> {
        let losses = train(&path)?;
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        println!(
            "loss {first:.4} at first, {last:.4} after {} steps",
            losses.len()
        );
        // The one video there is has to be learned by heart.
        if last.is_nan() || last >= 0.5 * first {
            return Err(format!("nothing was learned: {losses:?}").into());
        }
        recognise(&path)
    });
    let done = worker.join().map_err(|_| "the worker panicked")?;
    std::fs::remove_file(&video)?;
    done
}

fn checkpoint() -> Result<Checkpoint> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/demo/backbone");
    Ok(Checkpoint::open(folder)?)
}

/// Frozen CLIP's answer for the video.
fn recognise(video: &Path) -> Result<()> {
    let device = tch::Device::Cpu;
    let templates = templates(&[DEFAULT_TEMPLATE.into()])?;
    let clip = Recogniser::zero_shot(&checkpoint()?, templates, FRAMES, device, Precision::Fp32)?;
    let labels = Labels::parse(&LABELS.join(","))?;
    let ready = clip.bind(Some(&labels))?;
    let videos: Vec<PathBuf> = vec![video.into()];
    for (video, decoded) in decode_ahead(
        videos,
        &VideoFiles::default(),
        FRAMES,
        clip.preprocess().geometry,
    )? {
        let answer = ready.answer(&video, &decoded?.clip, LABELS.len())?;
        let sum: f64 = answer.predictions.iter().map(|one| one.score).sum();
        println!(
            "{}: {}",
            answer.predictions[0].label, answer.predictions[0].score
        );
        if (sum - 1.0).abs() > 1e-6 || answer.frame_count != FRAMES {
            return Err(format!("not an answer: {answer:?}").into());
        }
    }
    Ok(())
}

/// Trains the blocks on one video; the loss of each step.
fn train(video: &Path) -> Result<Vec<f64>> {
    tch::manual_seed(0);
    let checkpoint = checkpoint()?;
    let device = tch::Device::Cpu;
    let clip = checkpoint.load(Usage::Frozen, device, Kind::Float)?;
    let frames = features(&clip, checkpoint.preprocess(), video)?; // (1, T, D)
    let (joint, width) = (clip.config().joint_width, clip.config().text.width); // D, W

    let tokenizer = checkpoint.tokenizer()?;
    let classes = ClassTokens::new(&LABELS, &tokenizer)?;
    let encoder = TextEncoder::new(&clip.text, &classes, PROMPTS, TextEncoding::default())?;
    let words = tokenizer.tokens("a video of a square that is");
    let words = words.get(..PROMPTS as usize).ok_or("too few words")?;

    let store = VarStore::new(device);
    let root = store.root();
    let motion = MotionConfig::best().check(FRAMES as i64, joint)?;
    let motion = MotionModellingBlock::new(&root, &motion)?;
    let learner =
        PromptLearner::from_vectors(&root, &clip.text.embed(&Tensor::from_slice(words))?)?;
    let adapter = MotionAdapter::new(&root, &AdapterConfig::best(), joint, width)?;
    let communication = CommunicationBlock::new(&root, &McbConfig::best().check(joint)?)?;

    let mut optimizer = sgd(0.9, 0.0, 0.0, false).build(&store, 0.01)?;
    let target = Tensor::from_slice(&[0i64]);
    let mut losses = Vec::new();
    for _ in 0..12 {
        optimizer.zero_grad();
        let seen = motion.forward(&frames, true)?;
        let cues = seen.motion.as_ref().ok_or("no motion stream")?;
        let prompts = learner.conditioned(&adapter.forward(&cues.pooled)?)?; // (1, H, W)
        let text = encoder.encode(&clip.text, &prompts)?;
        let tokens = VideoTokens {
            vector: &seen.video,
            frames: Some(&seen.spatial),
            motion: Some(&cues.states),
        };
        let both = communication.forward(&text.features, &tokens)?; // T' (1, K, D), V' (1, D)
        let cosines = (unit(&both.text) * unit(&both.video.unsqueeze(1))).sum_dim_intlist(
            -1,
            false,
            Kind::Float,
        );
        let loss = (cosines / 0.07).cross_entropy_for_logits(&target);
        losses.push(loss.double_value(&[]));
        text.backward(&loss)?;
        optimizer.step();
    }
    Ok(losses)
}

/// A square that moves to the right.
fn frames() -> Vec<Frame> {
    let (width, height) = (96, 64);
    let frame = |index: usize| {
        let left = 8 + 8 * index;
        let inside = |x, y| (left..left + 16).contains(&x) && (24..40).contains(&y);
        let pixel = |at: usize| match inside(at % width, at / width) {
            true => [230, 60, 40],
            false => [30, 40, 60],
        };
        Frame {
            index,
            time: 0.0,
            width,
            height,
            rgb: (0..width * height).flat_map(pixel).collect(),
        }
    };
    (0..FRAMES).map(frame).collect()
}

/// The features of a video's frames: (1, T, D).
fn features(clip: &ClipModel, preprocess: &Preprocess, video: &Path) -> Result<Tensor> {
    let mut video = Video::open(video, &Limits::default())?;
    let all: Vec<usize> = (0..FRAMES).collect();
    let mut resizer = Resizer::new();
    let mut pixels = Vec::new();
    for frame in video.frames(&all)? {
        let picture = Picture::new(frame.width, frame.height, frame.rgb)?;
        pixels.extend(preprocess.crop(&mut resizer, &picture)?.into_rgb());
    }
    let side = preprocess.geometry.size as i64;
    let pixels = Tensor::from_slice(&pixels).view([FRAMES as i64, side, side, 3]);
    let _guard = tch::no_grad_guard();
    let features = clip.vision.forward(&preprocess.normalise(&pixels)?)?; // (T, D)
    Ok(features.unsqueeze(0))
}

fn unit(x: &Tensor) -> Tensor {
    x / x.norm_scalaropt_dim(2, [-1], true)
}
