"""How calls are read, whatever was called: a function, a method, a module, a session or a pipeline.

``signatures`` names the arguments, ``opening`` opens what has names in arguments and answers, ``batches`` says
whether a call is one inference or many and what belongs to each, ``single`` takes the leading axis from one request,
``tensors`` turns tensors of any library into arrays, ``scripting`` keeps TorchScript from compiling what watches a
module.
"""
