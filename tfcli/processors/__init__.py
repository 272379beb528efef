"""What a model is given, made from media: images, audio, video, and text beside them."""
