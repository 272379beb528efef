"""Images, audio and video to the tensors that models take."""
