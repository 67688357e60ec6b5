//! Exact frames of a video file by their index.
