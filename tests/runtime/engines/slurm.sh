#!/bin/bash

# Parameters
#SBATCH --account=images
#SBATCH --array=0-1%2
#SBATCH --cpus-per-task=1
#SBATCH --error=RUNS/tiny/cache/engine/slurm/%A_%a/%A_%a_0_log.err
#SBATCH --gpus-per-node=1
#SBATCH --job-name=curate
#SBATCH --mem=32GB
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=RUNS/tiny/cache/engine/slurm/%A_%a/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --signal=USR1@90
#SBATCH --time=120

# setup
export SUBMITIT_PREEMPT_SIGNAL=USR1
module load cuda

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output RUNS/tiny/cache/engine/slurm/%A_%a/%A_%a_%t_log.out --error RUNS/tiny/cache/engine/slurm/%A_%a/%A_%a_%t_log.err --cpus-per-task=1 PYTHON -u -m submitit.core._submit RUNS/tiny/cache/engine/slurm/%j

